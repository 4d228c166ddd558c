"""`python -m resing` is the `resing` command."""

from resing.cli import main

if __name__ == "__main__":
    main()
