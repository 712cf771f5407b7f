"""People as judges: blinded export, a judging page, import, analysis (Kirchner et al. 2024, App. I).

One-way flow: `pool` (what a run wrote) -> `sampling` -> `assignment` -> `export` (the study folder,
`study`) -> `server` / `formats` (people judge) -> `importing` (one long table) -> `analysis`, which is
the first to open the sealed key. `simulate` puts made-up raters in place of people, for planning.
"""
