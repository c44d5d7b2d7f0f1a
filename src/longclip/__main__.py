"""`python -m longclip`, as torchrun starts it."""

from longclip.cli import main

if __name__ == "__main__":
    main()
