"""Chat models by role: which model does what, how it is asked, and what that costs."""
