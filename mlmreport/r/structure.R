# Step 1: sizes, balance, and the level at which each variable varies.

step_structure <- function(groups, variables, time, crossed) {
  statistic("structure/n", nrow(d), "Number of rows", "count")
  for (i in seq_along(groups)) {
    structure_of_group(names(groups)[i], groups[[i]], if (i > 1) groups[[i - 1]])
  }
  lowest <- groups[[1]]
  for (v in variables) {
    describe_variable(v, lowest)
    if (length(groups) > 1) shares_of_variable(v, groups, crossed)
  }
  for (i in seq_along(groups)[-1]) relation_of_groups(groups[[i - 1]], groups[[i]], crossed)
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
  if (!is.null(below)) {
    b$B <- as.name(below)
    statistic(
      id("units_min"), min(table(unique(d[c(G1, B1)])[[G1]])), "Fewest units of the level below",
      "count", bind = c(b, list(G1 = group, B1 = below))
    )
    statistic(
      id("units_max"), max(table(unique(d[c(G1, B1)])[[G1]])), "Most units of the level below",
      "count", bind = c(b, list(G1 = group, B1 = below))
    )
  }
}

structure_of_weights <- function() {
  b <- list(W = column_of(record$weights))
  statistic("prior_weights/min", min(W), "Smallest prior weight", "mean", bind = b)
  statistic("prior_weights/mean", mean(W), "Mean prior weight", "mean", bind = b)
  statistic("prior_weights/max", max(W), "Largest prior weight", "mean", bind = b)
}

# v: column, label, unit, type, level (1 = lowest), group (of its own level, "" for the lowest).
describe_variable <- function(v, lowest) {
  b <- list(X = as.name(v$column), G = as.name(lowest))
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
  if (v$level == 1 && (v$type == "number" || length(v$levels) == 2)) {
    statistic(
      id("between"), between_share(d$X, d$G), paste0(
        v$label, ": share of variation between groups"
      ),
      "share", bind = b, method = "eta squared"
    )
  }
}

structure_of_time <- function(time, person) {
  b <- list(T = as.name(time), G = as.name(person))
  statistic(
    "structure/time/occasions", length(unique(d$T)), "Distinct occasions", "count", bind = b
  )
  statistic("structure/time/first", min(d$T), "First occasion", "integer", bind = b)
  statistic("structure/time/last", max(d$T), "Last occasion", "integer", bind = b)
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
    "Groups whose measurements stop early, without a gap before", "count", bind = b
  )
  statistic(
    "structure/time/gaps", sum(!without_gap(d$T, d$G)),
    "Groups with a gap before their last measurement", "count", bind = b
  )
  series(
    "structure/time/observed", as.vector(table(factor(d$T))), "Measurements at each occasion",
    bind = b
  )
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
  }
}

# Share of a lowest-level variable's sum of squares at each grouping: nested groupings take theirs
# from the grouping above, crossed ones stand for themselves.
shares_of_variable <- function(v, groups, crossed) {
  if (v$level > 1 || (v$type == "category" && length(v$levels) != 2)) {
    return(invisible())
  }
  for (i in seq_along(groups)) {
    b <- list(X = as.name(v$column), G = as.name(groups[[i]]))
    at <- paste("structure/variable", v$column, "between", groups[[i]], sep = "/")
    label <- paste0(v$label, ": share of variation between ", groups[[i]])
    if (crossed || i == length(groups)) {
      statistic(at, between_share(d$X, d$G), label, "share", bind = b, method = "eta squared")
    } else {
      b$U <- as.name(groups[[i + 1]])
      statistic(
        at, between_share(d$X, d$G) - between_share(d$X, d$U), label, "share", bind = b,
        method = "eta squared less that of the level above"
      )
    }
  }
}
