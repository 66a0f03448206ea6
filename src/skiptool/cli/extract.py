"""``skiptool extract``: one subcommand for each kind of source."""

from __future__ import annotations

import typer

from skiptool.cli.console import OnceCommand, show_help
from skiptool.cli.extract_images import extract_images
from skiptool.cli.extract_mri import extract_mri
from skiptool.cli.extract_wsi import ExportCommand, extract_wsi

extract = typer.Typer(
    name="extract",
    rich_markup_mode=None,
    help="Bring images and masks into a dataset store.",
)
extract.callback(invoke_without_command=True)(show_help)
extract.command("wsi", cls=ExportCommand)(extract_wsi)
extract.command("mri", cls=OnceCommand)(extract_mri)
extract.command("images", cls=OnceCommand)(extract_images)
