# Step 8: the average group, named groups, shrinkage, and what ignoring the groups would have done.

average_prediction <- function(id, level, unit) {
  b <- list(M = as.name(paste0("m_", id)), T = as.name(paste0("t_", id)), LEVEL = level)
  name <- paste0("m_", id)
  object("average", combination(T, fixed_rows(M, typical)[1L, ]), bind = b)
  said <- sprintf("%g %% t interval, Satterthwaite df; fixed effects only", 100 * level)
  if (!have("average")) {
    for (what in c("estimate", "se", "lower", "upper")) {
      absent(paste0("inference/average/", what), why("average", "not computed"))
    }
    return(list())
  }
  statistic(
    "inference/average/estimate", average[["estimate"]],
    "Expected outcome of a typical unit in the average group", "estimate", unit, said, name, b
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

# Where a new group's mean may lie: the average with the groups' own variance added.
new_group <- function(id, level, unit) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), TAIL = 1 - (1 - level) / 2)
  if (!have("average")) {
    for (what in c("lower", "upper")) {
      absent(paste0("inference/new/", what), why("average", "not computed"))
    }
    return(list())
  }
  said <- sprintf(
    "%g %% interval: fixed effects and all random variances at typical values, normal", 100 * level
  )
  statistic(
    "inference/new/lower",
    average[["estimate"]] - qnorm(TAIL) * sqrt(average[["se"]]^2 + variance_at(M, typical)),
    "A new group, lower limit", "estimate", unit, said, name, b
  )
  statistic(
    "inference/new/upper",
    average[["estimate"]] + qnorm(TAIL) * sqrt(average[["se"]]^2 + variance_at(M, typical)),
    "A new group, upper limit", "estimate", unit, said, name, b
  )
  list()
}

# Where one new unit of a new group may lie: the residual variance is added too.
new_observation <- function(id, level, unit) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), TAIL = 1 - (1 - level) / 2)
  said <- sprintf(
    "%g %% interval: fixed effects, all random variances at typical values, residual; normal",
    100 * level
  )
  if (!have("average")) {
    for (what in c("lower", "upper")) {
      absent(paste0("inference/observation/", what), why("average", "not computed"))
    }
    return(list())
  }
  statistic(
    "inference/observation/lower",
    average[["estimate"]] -
      qnorm(TAIL) * sqrt(average[["se"]]^2 + variance_at(M, typical) + sigma(M)^2),
    "A single new observation, lower limit", "estimate", unit, said, name, b
  )
  statistic(
    "inference/observation/upper",
    average[["estimate"]] +
      qnorm(TAIL) * sqrt(average[["se"]]^2 + variance_at(M, typical) + sigma(M)^2),
    "A single new observation, upper limit", "estimate", unit, said, name, b
  )
  list()
}

# The average prediction in the units that the outcome had before its transformation.
back_predicted <- function(id, transform, level) {
  inverse <- list(
    log = quote(exp(V)), log2 = quote(2^(V)), log10 = quote(10^(V)), log1p = quote(expm1(V)),
    sqrt = quote(max(0, V)^2)
  )[[transform]]
  b <- list(LEVEL = level)
  values <- list(
    estimate = quote(average[["estimate"]]), lower = quote(t_limit(average, "lower", LEVEL)),
    upper = quote(t_limit(average, "upper", LEVEL))
  )
  for (what in names(values)) {
    at <- paste0("inference/back/", what)
    if (!have("average")) {
      absent(at, why("average", "not computed"))
      next
    }
    value <- do.call(substitute, list(values[[what]], b))
    statistic(
      at, CALL, paste("Back-transformed:", what), "estimate", model = paste0("m_", id),
      bind = list(CALL = do.call(substitute, list(inverse, list(V = value))))
    )
  }
  list()
}

# How far the groups' order is determined: comparison intervals and the distribution of ranks.
comparisons <- function(id, group, effect, level, draws, seed, units) {
  name <- paste0("m_", id)
  at <- function(what) paste("inference/compare", what, sep = "/")
  b <- list(
    M = as.name(name), G = group, E = effect, LEVEL = level, DRAWS = draws, SEED = seed,
    TAIL = (1 - level) / 2
  )
  b$SE <- mode_errors(b)
  m <- get(name, envir = analysis)
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
  object("ranks", {
    set.seed(SEED, "Mersenne-Twister", "Inversion", "Rejection")
    rank_draws(M, G, E, DRAWS)
  }, bind = b)
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
    object("other", coef(summary(T, ddf = DDF)), bind = b)
  } else {
    b$M <- as.name(name)
    object("other", coef(summary(lmerTest::as_lmerModLmerTest(M), ddf = DDF)), bind = b)
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

# The name of the standard errors of a grouping's conditional modes, computed once as they take long.
mode_errors <- function(b) {
  name <- make.names(paste("se_modes", b$G, b$E, sep = "_"))
  if (!have(name)) object(name, mode_sd(M, G, E), bind = b)
  as.name(name)
}

# Conditional modes of every effect, with intervals.
caterpillar <- function(id, group, effect, level) {
  name <- paste0("m_", id)
  at <- function(what) paste("inference/modes", group, effect, what, sep = "/")
  b <- list(M = as.name(name), G = group, E = effect, TAIL = 1 - (1 - level) / 2)
  b$SE <- mode_errors(b)
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

# Predictions for named groups: the group's own higher-level values, typical lower-level ones.
group_predictions <- function(id, group, units, columns, level, unit) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), G = group, GC = as.name(group), TAIL = 1 - (1 - level) / 2)
  b$BLOCK <- intercept_block(get(name, envir = analysis), group)
  object("joint", joint_covariance(M), bind = b)
  said <- sprintf(
    "%g %% interval, fixed effects and conditional modes jointly (variances taken as known)",
    100 * level
  )
  for (u in units) {
    b$UNIT <- u
    b$ROW <- as.call(
      c(list(as.name("with_values"), as.name("typical")), group_values(columns, group, u))
    )
    prediction <- paste0("group_", make.names(u))
    b$P <- as.name(prediction)
    at <- function(what) paste("inference/group", u, what, sep = "/")
    if (have("joint")) object(prediction, group_prediction(M, joint, ROW, G, UNIT), bind = b)
    if (have(prediction)) {
      statistic(
        at("estimate"), P[["estimate"]], paste("Expected outcome in group", u), "estimate", unit,
        said, name, b
      )
      statistic(at("se"), P[["se"]], paste("SE in group", u), "se", unit, said, name, b)
      statistic(
        at("lower"), P[["estimate"]] - qnorm(TAIL) * P[["se"]], paste("Lower limit in group", u),
        "estimate", unit, said, name, b
      )
      statistic(
        at("upper"), P[["estimate"]] + qnorm(TAIL) * P[["se"]], paste("Upper limit in group", u),
        "estimate", unit, said, name, b
      )
    } else {
      for (what in c("estimate", "se", "lower", "upper")) {
        absent(at(what), why("joint", why(prediction, "not computed")), u)
      }
    }
    statistic(at("n"), sum(d$GC == UNIT), paste("Rows of group", u), "count", bind = b)
    if (nzchar(b$BLOCK)) {
      statistic(
        at("shrinkage"),
        reliability(component(M, BLOCK, "(Intercept)"), sigma(M)^2, sum(d$GC == UNIT)),
        paste("Reliability of the intercept of group", u), "proportion", bind = b, model = name,
        method = "tau / (tau + sigma2 / n_j)"
      )
    } else {
      absent(at("shrinkage"), "the model has no random intercept for these groups", u)
    }
  }
  list()
}

group_values <- function(columns, group, unit) {
  values <- lapply(columns, function(column) {
    value <- bquote(.(column_of(column))[.(column_of(group)) == .(unit)][1L])
    if (is.factor(analysis$d[[column]])) bquote(as.character(.(value))) else value
  })
  names(values) <- columns
  values
}

# Raw group means against those of the null model.
shrinkage <- function(null, group, outcome) {
  name <- paste0("m_", null)
  b <- list(M = as.name(name), G = group, GC = as.name(group), Y = as.name(outcome))
  series("inference/shrinkage/raw", raw_means(d$Y, d$GC), "Raw group means", model = name, bind = b)
  series(
    "inference/shrinkage/shrunken", fixef(M)[["(Intercept)"]] + modes_of(M, G)[["(Intercept)"]],
    "Means of the null model", model = name, bind = b
  )
  series("inference/shrinkage/n", group_sizes(d$GC), "Rows per group", model = name, bind = b)
  statistic(
    "inference/shrinkage/overall", fixef(M)[["(Intercept)"]], "Overall mean of the null model",
    "estimate", model = name, bind = b
  )
  statistic(
    "inference/shrinkage/least",
    max(reliability(component(M, G, "(Intercept)"), sigma(M)^2, group_sizes(d$GC))),
    "Largest reliability of a group mean", "proportion", model = name, bind = b,
    method = "tau / (tau + sigma2 / n_j)"
  )
  statistic(
    "inference/shrinkage/most",
    min(reliability(component(M, G, "(Intercept)"), sigma(M)^2, group_sizes(d$GC))),
    "Smallest reliability of a group mean", "proportion", model = name, bind = b,
    method = "tau / (tau + sigma2 / n_j)"
  )
  list()
}

# The same fixed part by ordinary least squares, as if rows were independent.
ols_comparison <- function(id, fixed, unit) {
  name <- paste0("m_", id)
  m <- get(name, envir = analysis)
  b <- list(F = str2lang(fixed), M = as.name(name))
  object("ols", lm(F, data = d), bind = b)
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
