"""What was agreed and what follows from it: settings, checks, cost, codes, secure sum, claim. Pure but for recipes."""
