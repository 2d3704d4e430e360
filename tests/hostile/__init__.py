"""What a hostile user, a poor machine or bad luck would do; each case in a folder of its own."""
