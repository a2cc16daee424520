"""Exact changes of modules: the same function in a form that an engine runs well."""
