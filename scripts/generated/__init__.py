"""What the scripts that write pages of the documentation share."""
