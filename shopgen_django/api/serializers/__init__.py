"""What goes in and what comes out, each field listed by hand: a new column is never exposed by accident."""
