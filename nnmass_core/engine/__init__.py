"""The exact engine: chains, bounds, enumeration, ranking, the solver, Pareto fronts, control of a run."""
