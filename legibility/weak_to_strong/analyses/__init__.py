"""The analyses beside the grid of students: each is a section of the settings and a section of summary.json.

`registry` holds their table; every other module here is one analysis.
"""
