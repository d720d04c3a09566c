"""The gateway's database: tickets, turns at predictors, chores."""
