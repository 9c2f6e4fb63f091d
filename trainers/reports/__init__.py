"""Reports as one HTML file that needs no other: pictures are inside, there are no scripts.

One template (page.html, by Jinja2) for a run, a comparison, a sweep, a solved game and the study.
"""
