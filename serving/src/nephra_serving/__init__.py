"""The KServe shell of nephra's predictors: written once, knows no medicine."""
