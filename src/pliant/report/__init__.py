"""How what a run says is shown: HTML, terminal, Markdown, LaTeX, figures. Pure but for the files it writes.

Begin with `writing`; `story` and `summary` are the texts, `figures`, `curves` and `timeline` the pictures, `html`,
`terminal`, `latex` and `markdown` the forms. It may import the analysis and what is below it, and computes nothing.
"""
