"""`python -m boresight`, which is also how torchrun starts it."""

from boresight.cli import main

if __name__ == "__main__":
    main()
