"""Wrong types, forged files, interrupts: each ends in one sentence, and nothing is lost."""
