"""The file formats of skiptool: each file here is the specification of one format."""
