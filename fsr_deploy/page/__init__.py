"""A page in the browser that shows what an engine does with pictures and films."""
