"""One module a part; each function is a check, and the first line of its docstring what it holds."""
