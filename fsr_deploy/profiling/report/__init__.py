"""A profile for people: a page, Markdown, plots."""
