"""Exports of a dataset store: contact sheets, and samples for other programs.

png      pairs of PNG files with a manifest
sheets   contact sheets of the domains
nnunet   folders for nnU-Net, version 2
folders  export folders: checks, staging, and the record of the dataset they were made from

May import figures, sources, stores and what lies below them.
"""
