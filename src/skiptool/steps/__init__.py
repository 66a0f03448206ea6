"""One room per subcommand: files in, files out; the only hall that joins the wings."""
