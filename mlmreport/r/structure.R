# Step 1: sizes, balance, and the level at which each variable varies.

step_structure <- function(groups, variables, time, crossed, pairs) {
  statistic("structure/n", nrow(d), "Number of rows", "count")
  for (i in seq_along(groups)) {
    structure_of_group(names(groups)[i], groups[[i]], if (i > 1 && !crossed) groups[[i - 1]])
  }
  lowest <- groups[[1]]
  for (v in variables) {
    describe_variable(v)
    shares_of_variable(v, unname(groups), crossed)
  }
  for (pair in pairs) relation_of_groups(pair[[1]], pair[[2]], crossed)
  if (nzchar(time)) structure_of_time(time, lowest)
  if (weighted()) structure_of_weights()
  list()
}

structure_of_group <- function(level, group, below) {
  b <- list(G = as.name(group))
  id <- function(what) paste("structure", level, what, sep = "/")
  statistic(id("groups"), nlevels(d$G), paste("Number of units at level", level), "count", bind = b)
  statistic(id("min"), min(group_sizes(d$G)), "Smallest number of rows", "count", bind = b)
  statistic(id("median"), median(group_sizes(d$G)), "Median number of rows", "mean_count", bind = b)
  statistic(id("mean"), mean(group_sizes(d$G)), "Mean number of rows", "mean_count", bind = b)
  statistic(id("max"), max(group_sizes(d$G)), "Largest number of rows", "count", bind = b)
  statistic(
    id("cv"), variation(group_sizes(d$G)), "Coefficient of variation of the sizes", "ratio",
    bind = b
  )
  statistic(id("singletons"), sum(group_sizes(d$G) == 1), "Groups of one row", "count", bind = b)
  series(id("sizes"), group_sizes(d$G), "Rows per group", "rows", bind = b)
  if (!is.null(below)) units_of_group(id, c(b, list(B = as.name(below))))
}

# The same counts in units of the level below.
units_of_group <- function(id, b) {
  at <- function(what) id(paste0("units/", what))
  label <- "units of the level below"
  statistic(at("min"), min(partners(d$G, d$B)), paste("Fewest", label), "count", bind = b)
  statistic(at("median"), median(partners(d$G, d$B)), paste("Median", label), "mean_count", bind = b)
  statistic(at("mean"), mean(partners(d$G, d$B)), paste("Mean", label), "mean_count", bind = b)
  statistic(at("max"), max(partners(d$G, d$B)), paste("Most", label), "count", bind = b)
  statistic(at("cv"), variation(partners(d$G, d$B)), paste("CV of", label), "ratio", bind = b)
  statistic(
    at("singletons"), sum(partners(d$G, d$B) == 1), "Groups of one unit of the level below", "count",
    bind = b
  )
}

structure_of_weights <- function() {
  b <- list(W = column_of(record$weights))
  statistic("prior_weights/min", min(W), "Smallest prior weight", "mean", bind = b)
  statistic("prior_weights/mean", mean(W), "Mean prior weight", "mean", bind = b)
  statistic("prior_weights/max", max(W), "Largest prior weight", "mean", bind = b)
}

# v: column, label, unit, type, level (1 = lowest), group (of its own level, "" for the lowest).
describe_variable <- function(v) {
  b <- list(X = as.name(v$column))
  id <- function(what) paste("structure/variable", v$column, what, sep = "/")
  if (v$type == "category") {
    for (k in v$levels) {
      b$K <- k
      if (v$level > 1) {
        b$U <- as.name(v$group)
        statistic(
          id(paste0("n:", k)), sum(d$X[!duplicated(d$U)] == K), paste0(v$label, ": units with ", k),
          "count", bind = b
        )
      } else {
        statistic(
          id(paste0("n:", k)), sum(d$X == K), paste0(v$label, ": rows with ", k), "count", bind = b
        )
      }
    }
  } else if (v$level > 1) {
    b$U <- as.name(v$group)
    statistic(
      id("mean"), mean(per_group(d$X, d$U)), paste0(v$label, ": mean over units"), "mean", v$unit,
      bind = b
    )
    statistic(
      id("sd"), sd(per_group(d$X, d$U)), paste0(v$label, ": SD over units"), "sd", v$unit, bind = b
    )
    statistic(id("min"), min(d$X), paste0(v$label, ": minimum"), "mean", v$unit, bind = b)
    statistic(id("max"), max(d$X), paste0(v$label, ": maximum"), "mean", v$unit, bind = b)
  } else {
    statistic(id("mean"), mean(d$X), paste0(v$label, ": mean"), "mean", v$unit, bind = b)
    statistic(id("sd"), sd(d$X), paste0(v$label, ": SD"), "sd", v$unit, bind = b)
    statistic(id("min"), min(d$X), paste0(v$label, ": minimum"), "mean", v$unit, bind = b)
    statistic(id("max"), max(d$X), paste0(v$label, ": maximum"), "mean", v$unit, bind = b)
  }
}

structure_of_time <- function(time, person) {
  b <- list(T = as.name(time), G = as.name(person))
  statistic(
    "structure/time/occasions", length(unique(d$T)), "Distinct occasions", "count", bind = b
  )
  type <- if (all(analysis$d[[time]] %% 1 == 0)) "integer" else "mean"
  statistic("structure/time/first", min(d$T), "First occasion", type, bind = b)
  statistic("structure/time/last", max(d$T), "Last occasion", type, bind = b)
  statistic(
    "structure/time/late", sum(first_occasion(d$T, d$G) > min(d$T)),
    "Groups that were not observed at the first occasion", "count", bind = b
  )
  statistic(
    "structure/time/complete", sum(group_sizes(d$G) == length(unique(d$T))),
    "Groups measured at every occasion", "count", bind = b
  )
  if (length(unique(analysis$d[[time]])) > 1) {
    statistic(
      "structure/time/step_min", min(occasion_steps(d$T)), "Shortest step between occasions",
      "mean", bind = b
    )
    statistic(
      "structure/time/step_max", max(occasion_steps(d$T)), "Longest step between occasions",
      "mean", bind = b
    )
  }
  statistic(
    "structure/time/to_last", sum(last_occasion(d$T, d$G) == max(d$T)),
    "Groups observed at the last occasion", "count", bind = b
  )
  statistic(
    "structure/time/left", sum(last_occasion(d$T, d$G) < max(d$T) & without_gap(d$T, d$G)),
    "Groups whose measurements stop early, without a gap", "count", bind = b
  )
  statistic(
    "structure/time/gaps", sum(!without_gap(d$T, d$G)),
    "Groups with a gap between their first and last measurement", "count", bind = b
  )
  series(
    "structure/time/observed", as.vector(table(factor(d$T))), "Measurements at each occasion",
    bind = b
  )
}

# With how many units of the other grouping the units of one stand.
partners_of <- function(id, side, a, of, b) {
  label <- paste("units of", of, "a unit of", a, "stands with")
  at <- function(what) id(paste(side, what, sep = "/"))
  statistic(at("least"), min(partners(d$L, d$U)), paste("Fewest", label), "count", bind = b)
  statistic(at("mean"), mean(partners(d$L, d$U)), paste("Mean number of", label), "mean_count", bind = b)
  statistic(at("most"), max(partners(d$L, d$U)), paste("Most", label), "count", bind = b)
}

# How the units of two groupings lie: nested (0 in several) or crossed, with the cells occupied.
relation_of_groups <- function(lower, upper, crossed) {
  b <- list(L = as.name(lower), U = as.name(upper))
  id <- function(what) paste("structure/relation", lower, upper, what, sep = "/")
  statistic(
    id("in_several"), units_in_several(d$L, d$U),
    paste("Units of", lower, "that stand in several of", upper), "count", bind = b
  )
  if (crossed) {
    statistic(
      id("cells"), nlevels(d$L) * nlevels(d$U), "Combinations of the two", "count", bind = b
    )
    statistic(
      id("occupied"), occupied_cells(d$L, d$U), "Combinations that hold rows", "count", bind = b
    )
    partners_of(id, "lower", lower, upper, b)
    partners_of(id, "upper", upper, lower, list(L = b$U, U = b$L))
  }
}

# Shares of a variable's variance between the units of each higher level; those of a variable of a
# nested level are taken over the units of that level.
shares_of_variable <- function(v, groups, crossed) {
  above <- if (v$level == 1) groups else if (crossed) character() else groups[-seq_len(v$level - 1)]
  if (!length(above)) {
    return(invisible())
  }
  shares <- paste0("shares_", make.names(v$column))
  b <- list(X = as.name(v$column), GROUPS = unlist(above), SHARES = as.name(shares))
  if (v$level == 1) {
    object(shares, variance_shares(d$X, d[GROUPS]), bind = b)
  } else {
    b$U <- as.name(v$group)
    object(
      shares, variance_shares(d$X[!duplicated(d$U)], d[!duplicated(d$U), GROUPS, drop = FALSE]),
      bind = b
    )
  }
  for (g in above) {
    b$G <- g
    at <- paste(c("structure/variable", v$column, "between", if (length(groups) > 1) g), collapse = "/")
    label <- paste0(v$label, ": share of variance between ", g)
    if (have(shares)) {
      statistic(
        at, SHARES[[G]], label, "share", bind = b,
        method = "variance components by analysis of variance (Henderson's method 1)"
      )
    } else {
      absent(at, why(shares, "not computed"), label)
    }
  }
}
