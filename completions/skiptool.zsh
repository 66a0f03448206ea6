
#compdef skiptool

_skiptool_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _SKIPTOOL_COMPLETE=complete_zsh skiptool)
}

compdef _skiptool_completion skiptool

