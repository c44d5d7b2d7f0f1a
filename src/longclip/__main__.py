"""`python -m longclip`, as torchrun starts it."""

from longclip.commands import main

if __name__ == "__main__":
    main()
