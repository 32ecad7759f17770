"""Pins: what users and their files see today, written down so that a change of it is noticed.

Each module observes one side of the product and returns plain JSON data; `test_pins.py` compares that with
a stored file, and `python -m tests.pins.write` (`make pins`) writes the files again. A pin that fails says
that behavior changed. Write the files again only when the change is meant; a tool that renames modules must
leave the JSON files alone.

    stored       the list of pins, and how data are compared with their files
    runs         the tiny runs that the last three share

    cli          verbs, arguments and options of the command line
    recipes      keys and defaults of every kind of recipe
    public       functions and names for use from Python
    shown_paths  import paths that documentation and examples show
    folders      files that each verb writes, and the keys in them
    formats      checkpoint, reference cache, ledger, claims and outcomes
    curves       losses of a short seeded run of every method
"""
