"""`python -m extauthz` is the `extauthz` command."""

from extauthz.cli import main

main()
