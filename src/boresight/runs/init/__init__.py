"""`boresight init`: a first recipe, from a look at the user's data, model and machine."""
