"""The full-screen views of the console."""
