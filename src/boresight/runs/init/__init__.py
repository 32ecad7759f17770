"""`boresight init`: a first recipe for the user's data, model and machine."""
