"""``python -m gazeeval``, the form that torchrun takes."""

from gazeeval.cli.main import main

if __name__ == "__main__":
    main()
