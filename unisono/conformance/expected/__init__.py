"""Expected results in float64, with a bound for each entry."""
