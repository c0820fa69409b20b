"""(docstring to be written)"""
