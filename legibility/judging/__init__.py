"""People as raters: blinded export, a judging page, import, analysis (Kirchner et al. 2024, App. I).

One-way flow: `candidates` (what a run wrote) -> `sampling` -> `assignment` -> `export` (the study folder,
`study_folder`) -> `server` / `formats` (people judge) -> `importing` (one long table, `table`) -> `analysis`, which
is the first to open the sealed key. `simulate` puts made-up raters in place of people, for planning.
The commands are one function each: `export.export_study`, `server.serve`, `importing.import_judgments`,
`analysis.analyze_study`, `simulate.simulate_study`.
"""
