"""What a run says, for people: pictures, plots, and the page that holds all of it."""
