# Step 8: the average group, named groups, shrinkage, and what ignoring the groups would have done.

average_prediction <- function(id, level, ddf, unit) {
  b <- list(
    M = as.name(paste0("m_", id)), T = as.name(paste0("t_", id)), LEVEL = level, DDF = ddf
  )
  name <- paste0("m_", id)
  b$EXPECTED <- quote(combination(T, fixed_rows(M, typical)[1L, ], DDF))
  if (record$offset) b$EXPECTED$plus <- quote(offset_at(M, typical))
  b$EXPECTED <- resolve(b$EXPECTED, b)
  object("average", EXPECTED, bind = b)
  said <- paste0(interval_of(level, ddf), "; fixed effects only")
  if (!have("average")) {
    for (what in c("estimate", "se", "lower", "upper")) {
      absent(paste0("inference/average/", what), why("average", "not computed"))
    }
    return(list())
  }
  statistic(
    "inference/average/estimate", average[["estimate"]],
    "Expected outcome at a row of typical values in the average group", "estimate", unit,
    said, name, b
  )
  statistic(
    "inference/average/se", average[["se"]], "SE of the expected outcome", "se", unit, said, name, b
  )
  statistic(
    "inference/average/lower", t_limit(average, "lower", LEVEL), "Lower limit", "estimate", unit,
    said, name, b
  )
  statistic(
    "inference/average/upper", t_limit(average, "upper", LEVEL), "Upper limit", "estimate", unit,
    said, name, b
  )
  list()
}

# How far predictions move with the estimated variances: needed once for all named groups.
prediction_drift <- function(id) {
  object("drift", variance_drift(M), bind = list(M = as.name(paste0("m_", id))))
  list(have = have("drift"), reason = why("drift", ""))
}

# The expected outcome, or a single one, in named units (grouping = unit) or in units drawn anew.
# values: list of list(group, unit, columns), the columns that a unit's own values are taken of;
# `made` is what the prediction is called in R.
predict_for <- function(id, key, made, label, units, values, new, residual, level, unit) {
  name <- paste0("m_", id)
  model_as_m(name)
  at <- function(what) paste("inference", key, what, sep = "/")
  inside <- list()
  for (g in names(units)) inside <- utils::modifyList(inside, units_around(m, g, units[[g]]))
  b <- list(
    M = as.name(name), P = as.name(made), ROW = row_of_units(values), UNITS = inside,
    NEW = as.character(unlist(new)), ONE = residual,
    DRIFT = if (have("drift")) as.name("drift") else NULL,
    TAIL = 1 - (1 - level) / 2
  )
  object(made, prediction(M, ROW, UNITS, DRIFT, NEW, ONE), bind = b)
  if (!have(made)) {
    for (what in c("estimate", "se", "known", "df", "lower", "upper")) {
      absent(at(what), why(made, "not computed"), label)
    }
    return(list(have = FALSE))
  }
  held <- c(TRUE, length(units) > 0, !is.null(b$DRIFT), length(new) > 0, residual)
  parts <- c(
    "fixed effects", "conditional modes jointly with them",
    "estimated variances to the first order and at the penalised likelihood",
    "variances of what is drawn anew", "residual variance"
  )[held]
  degrees <- if (length(new) && !length(units)) predictive_degrees(made, b)
  b$QUANTILE <- quantile_of(made, b$TAIL)
  said <- sprintf(
    "%g %% %s interval: %s", 100 * level, if (is.null(degrees)) "normal" else degrees,
    paste(parts, collapse = ", ")
  )
  if (length(new) && !length(units)) record_degrees(at("df"), made, label, said, name)
  statistic(at("estimate"), P[["estimate"]], label, "estimate", unit, said, name, b)
  statistic(at("se"), P[["se"]], paste("SE:", label), "se", unit, said, name, b)
  statistic(
    at("known"), P[["known"]], paste("SE, variances taken as known:", label), "se", unit, said,
    name, b
  )
  statistic(
    at("lower"), P[["estimate"]] - QUANTILE * P[["se"]], paste("Lower limit:", label),
    "estimate", unit, said, name, b
  )
  statistic(
    at("upper"), P[["estimate"]] + QUANTILE * P[["se"]], paste("Upper limit:", label),
    "estimate", unit, said, name, b
  )
  list(have = TRUE)
}

# The row of typical values with the units' own values of some columns.
row_of_units <- function(values) {
  row <- quote(typical)
  for (v in values) {
    own <- group_values(unlist(v$columns), v$group, v$unit)
    if (length(own)) row <- as.call(c(list(as.name("with_values"), row), own))
  }
  row
}

# Degrees of freedom of a prediction of something drawn anew; how an interval by them is called.
predictive_degrees <- function(made, b) {
  object(paste0(made, "_df"), predictive_df(M, ROW, NEW, ONE, DRIFT), bind = b)
  if (have(paste0(made, "_df"))) "t (Welch-Satterthwaite df of the whole variance)"
}

record_degrees <- function(at, made, label, said, name) {
  df <- paste0(made, "_df")
  label <- paste0(label, ": degrees of freedom of its interval")
  if (have(df)) {
    statistic(at, DF, label, "df", "", said, name, list(DF = as.name(df)))
  } else {
    absent(at, why(df, "an interval by the normal distribution has none"), label)
  }
}

# The quantile by which an interval of a prediction is made: of t where it has degrees of freedom.
quantile_of <- function(made, tail) {
  df <- paste0(made, "_df")
  if (have(df)) bquote(qt(.(tail), .(as.name(df)))) else bquote(qnorm(.(tail)))
}

# A prediction in the units that the outcome had before its transformation: the median, or the mean
# with what varies around the expected value, the residual alone or the random effects too.
back_predicted <- function(id, key, made, around, transform, level, unit) {
  name <- paste0("m_", id)
  at <- function(what) paste("inference/back", key, what, sep = "/")
  b <- list(M = as.name(name), TR = transform, P = as.name(made), TAIL = 1 - (1 - level) / 2)
  b$LEVEL <- level
  b$QUANTILE <- quantile_of(made, b$TAIL)
  limits <- list(
    estimate = quote(P[["estimate"]]), lower = quote(P[["estimate"]] - QUANTILE * P[["se"]]),
    upper = quote(P[["estimate"]] + QUANTILE * P[["se"]])
  )
  if (made == "average") {
    limits$lower <- quote(t_limit(P, "lower", LEVEL))
    limits$upper <- quote(t_limit(P, "upper", LEVEL))
  }
  variance <- list(
    residual = variance_call(as.name(name)),
    all = bquote(variance_at(M, typical) + .(variance_call(as.name(name))))
  )[[around]]
  for (what in names(limits)) {
    if (!have(made)) {
      absent(at(what), why(made, "not computed"), what)
      next
    }
    b$MU <- resolve(limits[[what]], b)
    if (is.null(variance)) {
      statistic(
        at(what), back_median(MU, TR), paste("Transformed back, median:", what), "estimate", unit,
        "inverse of the transformation", name, b
      )
    } else {
      b$V <- resolve(variance, b)
      statistic(
        at(what), back_mean(MU, V, TR), paste("Transformed back, mean:", what), "estimate", unit,
        "mean of the transformed-back normal distribution, variances taken as known", name, b
      )
    }
  }
  list()
}

# How far the groups' order is determined: comparison intervals of an effect, and the distribution of
# the ranks by the expected outcome at typical values and each group's own `columns`.
comparisons <- function(id, group, effect, level, draws, seed, units, columns) {
  name <- paste0("m_", id)
  at <- function(what) paste("inference/compare", group, what, sep = "/")
  b <- list(
    M = as.name(name), G = group, E = effect, LEVEL = level, DRAWS = draws, SEED = seed,
    TAIL = (1 - level) / 2, COLUMNS = columns
  )
  b$SE <- mode_errors(b)
  model_as_m(name)
  variance <- component(m, intercept_block(m, group), effect)
  if (sqrt(variance) < 1e-4 * sigma(m)) {
    for (what in c("factor", "overlap", paste0("rank/", units, "/lower"),
                   paste0("rank/", units, "/upper"))) {
      absent(at(what), "the variance between groups is estimated as zero")
    }
    return(list())
  }
  statistic(
    at("factor"), comparison_factor(LEVEL), "Half-width of comparison intervals in SEs", "ratio",
    method = "z / sqrt(2); Goldstein & Healy (1995)", bind = b
  )
  series(
    at("lower"), modes_of(M, G)[[E]] - comparison_factor(LEVEL) * SE,
    "Lower limits of comparison intervals", model = name, bind = b
  )
  series(
    at("upper"), modes_of(M, G)[[E]] + comparison_factor(LEVEL) * SE,
    "Upper limits of comparison intervals", model = name, bind = b
  )
  statistic(
    at("overlap"),
    overlapping_pairs(
      modes_of(M, G)[[E]] - comparison_factor(LEVEL) * SE,
      modes_of(M, G)[[E]] + comparison_factor(LEVEL) * SE
    ),
    "Share of pairs of groups whose comparison intervals overlap", "share", model = name, bind = b
  )
  if (length(units)) {
    object("ranks", {
      set.seed(SEED, "Mersenne-Twister", "Inversion", "Rejection")
      rank_draws(M, G, group_rows(typical, G, d, COLUMNS), DRAWS)
    }, bind = b)
  }
  for (u in units) rank_limits(at, u, draws, level, name, c(b, list(U = u)))
  list()
}

rank_limits <- function(at, u, draws, level, name, b) {
  said <- sprintf("%g %% interval of %d draws; 1 = highest", 100 * level, draws)
  statistic(
    at(paste0("rank/", u, "/lower")), quantile(ranks[U, ], TAIL, type = 1),
    paste("Rank, lower limit:", u), "count", method = said, model = name, bind = b
  )
  statistic(
    at(paste0("rank/", u, "/upper")), quantile(ranks[U, ], 1 - TAIL, type = 1),
    paste("Rank, upper limit:", u), "count", method = said, model = name, bind = b
  )
}

# The tests of the fixed effects by the other method of denominator df.
other_df <- function(id, ddf) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), T = as.name(paste0("t_", id)), DDF = ddf)
  if (inherits(get(paste0("t_", id), envir = analysis), "lmerModLmerTest")) {
    object("other", t_tests(T, DDF), bind = b)
  } else {
    b$M <- as.name(name)
    object("other", t_tests(with_df(M), DDF), bind = b)
  }
  for (term in names(fixef(get(name, envir = analysis)))) {
    b$TERM <- term
    at <- function(what) paste("inference/otherdf", term, what, sep = "/")
    if (!have("other")) {
      for (what in c("se", "df", "p")) absent(at(what), why("other", "not computed"), term)
      next
    }
    statistic(
      at("se"), other[TERM, "Std. Error"], paste("SE:", term), "se", method = ddf, model = name,
      bind = b
    )
    statistic(
      at("df"), other[TERM, "df"], paste("df:", term), "df", method = ddf, model = name, bind = b
    )
    statistic(
      at("p"), other[TERM, "Pr(>|t|)"], paste("p:", term), "p", method = paste("t test,", ddf),
      model = name, bind = b
    )
  }
  list()
}

# The effect within groups of a term whose coefficient mixes it with that between them: from the refit
# with the group means among the predictors (`check_exogeneity`).
within_effect <- function(id, term, level, unit, label) {
  at <- function(what) paste("inference/within", term, what, sep = "/")
  text <- paste("Effect within groups:", label)
  said <- "group mean added to the model (Mundlak, 1978), t test with Satterthwaite df"
  columns <- c(
    estimate = "Estimate", se = "Std. Error", df = "df", t = "t value", p = "Pr(>|t|)"
  )
  types <- c(estimate = "estimate", se = "se", df = "df", t = "statistic", p = "p")
  b <- list(TERM = term, TAIL = 1 - (1 - level) / 2)
  for (what in names(columns)) {
    b$COLUMN <- columns[[what]]
    statistic(
      at(what), mundlak_tests[TERM, COLUMN], text, types[[what]],
      if (what %in% c("estimate", "se")) unit else "", said, "mundlak", b
    )
  }
  for (side in c("lower", "upper")) {
    b$SIGN <- if (side == "lower") -1 else 1
    statistic(
      at(side),
      mundlak_tests[TERM, "Estimate"] +
        SIGN * qt(TAIL, mundlak_tests[TERM, "df"]) * mundlak_tests[TERM, "Std. Error"],
      paste("Limit of the", text), "estimate", unit, said, "mundlak", b
    )
  }
  list()
}

# p-values of a family of tests, adjusted for their number.
adjusted_tests <- function(id, family, terms, method) {
  b <- list(C = as.name(paste0("coef_", id)), TERMS = terms, METHOD = method)
  at <- function(what) paste("inference/adjusted", family, what, sep = "/")
  said <- sprintf("%s over %d tests", method, length(terms))
  statistic(at("tests"), length(TERMS), paste("Tests in the family", family), "count", bind = b)
  for (i in seq_along(terms)) {
    b$I <- i
    statistic(
      at(paste0(terms[i], "/p")), p.adjust(C[TERMS, "Pr(>|t|)"], METHOD)[[I]],
      paste("Adjusted p:", terms[i]), "p", method = said, model = paste0("m_", id), bind = b
    )
  }
  list()
}

# The name of the standard errors of a grouping's conditional modes, computed once as they take long:
# with the uncertainty of fixed effects and variances for intervals, with these known for comparing
# groups, whose differences they hardly touch.
mode_errors <- function(b) {
  name <- make.names(paste("se_modes", b$G, b$E, sep = "_"))
  if (!have(name)) object(name, mode_sd(M, G, E), bind = b)
  as.name(name)
}
interval_errors <- function(b) {
  name <- make.names(paste("se_joint", b$G, b$E, sep = "_"))
  b["DRIFT"] <- list(if (have("drift")) as.name("drift")) # NULL is an element too
  if (!have(name)) object(name, mode_errors_joint(M, G, E, DRIFT), bind = b)
  if (have(name)) as.name(name) else mode_errors(b)
}

# Conditional modes of every effect, with intervals.
caterpillar <- function(id, group, effect, level) {
  name <- paste0("m_", id)
  at <- function(what) paste("inference/modes", group, effect, what, sep = "/")
  b <- list(M = as.name(name), G = group, E = effect, TAIL = 1 - (1 - level) / 2)
  b$SE <- interval_errors(b)
  series(at("names"), rownames(modes_of(M, G)), "Groups", model = name, bind = b)
  series(at("estimate"), modes_of(M, G)[[E]], "Conditional modes", model = name, bind = b)
  series(
    at("lower"), modes_of(M, G)[[E]] - qnorm(TAIL) * SE, "Lower limits", model = name,
    bind = b
  )
  series(
    at("upper"), modes_of(M, G)[[E]] + qnorm(TAIL) * SE, "Upper limits", model = name,
    bind = b
  )
  statistic(
    at("clear"), sum(abs(modes_of(M, G)[[E]]) > qnorm(TAIL) * SE),
    "Groups whose interval does not hold zero", "count", bind = b, model = name
  )
  list()
}

# The wanted groups, or those of the lowest, the median and the highest expected outcome at typical
# lower-level and their own higher-level values.
named_groups <- function(id, group, wanted, columns) {
  m <- get(paste0("m_", id), envir = analysis)
  names_ <- rownames(modes_of(m, group))
  if (!length(wanted)) {
    rows <- group_rows(analysis$typical, group, analysis$d, columns)
    expected <- tryCatch(group_values_at(m, group, rows), error = function(e) NULL)
    order_ <- if (is.null(expected)) names_ else names_[order(expected)]
    wanted <- unique(order_[c(1L, ceiling(length(order_) / 2), length(order_))])
  }
  list(groups = intersect(wanted, names_), unknown = setdiff(wanted, names_))
}

# What a named group has: its rows, and how far its data determine its deviation.
group_facts <- function(id, group, units) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(M = as.name(name), G = group, GC = as.name(group))
  block <- intercept_block(m, group)
  for (u in units) {
    b$UNIT <- u
    at <- function(what) paste("inference/group", u, what, sep = "/")
    statistic(at("n"), sum(d$GC == UNIT), paste("Rows of group", u), "count", bind = b)
    if (!nzchar(block)) {
      absent(at("shrinkage"), "the model has no random intercept for these groups", u)
    } else if (component(m, block, "(Intercept)") <= 0) {
      absent(at("shrinkage"), "the variance between groups is estimated as zero", u)
    } else {
      b$AT <- match(u, rownames(ranef(m)[[group]]))
      statistic(
        at("shrinkage"), mode_reliability(M, G)[[AT]],
        paste("Reliability of the intercept of group", u), "proportion", bind = b, model = name,
        method = "1 - var(u | y) / tau"
      )
    }
  }
  list()
}

# Of the units of one grouping that have rows in a unit of another, the one of the median mode.
member_of <- function(id, group, within, unit) {
  m <- get(paste0("m_", id), envir = analysis)
  inside <- unique(as.character(analysis$d[[group]][analysis$d[[within]] == unit]))
  modes <- ranef(m, condVar = FALSE)[[group]]
  inside <- intersect(rownames(modes), inside)
  list(name = inside[order(modes[inside, 1L])][ceiling(length(inside) / 2)])
}

group_values <- function(columns, group, unit) {
  values <- lapply(columns, function(column) {
    value <- bquote(.(column_of(column))[.(column_of(group)) == .(unit)][1L])
    if (is.factor(analysis$d[[column]])) bquote(as.character(.(value))) else value
  })
  names(values) <- columns
  values
}

# Raw group means against those of the null model: its mean, the group's mode, and the modes of the
# higher units that the group lies in.
shrinkage <- function(null, group, outcome) {
  name <- paste0("m_", null)
  b <- list(M = as.name(name), G = group, GC = as.name(group), Y = as.name(outcome))
  at <- function(what) paste("inference/shrinkage", group, what, sep = "/")
  b$RAW <- if (adjusted()) quote(weighted_means(M, d$GC)) else quote(raw_means(d$Y, d$GC))
  b$RAW <- resolve(b$RAW, b)
  series(at("raw"), RAW, "Raw group means", model = name, bind = b)
  series(at("shrunken"), null_means(M, G), "Means of the null model", model = name, bind = b)
  series(at("n"), group_sizes(d$GC), "Rows per group", model = name, bind = b)
  statistic(
    at("overall"), fixef(M)[["(Intercept)"]], "Overall mean of the null model", "estimate",
    model = name, bind = b
  )
  said <- "1 - var(u | y) / tau"
  statistic(
    at("least"), max(mode_reliability(M, G)), "Largest reliability of a group's deviation",
    "proportion", model = name, bind = b, method = said
  )
  statistic(
    at("most"), min(mode_reliability(M, G)), "Smallest reliability of a group's deviation",
    "proportion", model = name, bind = b, method = said
  )
  list()
}

# The same fixed part by ordinary least squares, as if rows were independent; of many rows without what
# lm() keeps of each.
ols_comparison <- function(id, fixed, unit, many = 1e5) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(F = str2lang(fixed), M = as.name(name))
  b$OLS <- bquote(lm(.(b$F), data = d))
  if (weighted()) b$OLS$weights <- as.name(record$weights)
  if (!adjusted() && nrow(analysis$d) >= many && nzchar(compressed(name))) {
    b$OLS <- bquote(pooled_rows(.(as.name(compressed(name)))))
  }
  object("ols", OLS, bind = b)
  for (term in names(fixef(m))) {
    b$TERM <- term
    at <- function(what) paste("inference/ols", term, what, sep = "/")
    statistic(
      at("estimate"), coef(ols)[[TERM]], paste("OLS estimate:", term), "estimate", unit,
      "ordinary least squares", "ols", b
    )
    statistic(
      at("se"), sqrt(vcov(ols)[TERM, TERM]), paste("OLS SE:", term), "se", unit,
      "ordinary least squares", "ols", b
    )
    statistic(
      at("ratio"), sqrt(vcov(M)[TERM, TERM] / vcov(ols)[TERM, TERM]),
      paste("Multilevel SE over OLS SE:", term), "ratio", model = name, bind = b
    )
  }
  list()
}
