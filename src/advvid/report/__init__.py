"""Run folders and tables of papers as one page that needs nothing else: ``python -m advvid.report``."""
