"""What a learner sees: figures, the report, cards, the class board, widgets."""
