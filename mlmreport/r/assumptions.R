# Step 3: residuals of both levels of the model that is interpreted.

# `nested` are the groupings whose level-1 variances are compared, none where they cross.
# `single` are the predictors whose residuals are plotted as they are, of all `numbers`.
step_assumptions <- function(id, group, nested, numbers, single, terms, level) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(
    M = as.name(name), G = as.name(group), LEVEL = level, RES = residual_call(as.name(name))
  )
  b$SCALED <- as.call(c(as.list(b$RES), list(scaled = TRUE)))
  residual_normality(name, b)
  residual_spread(name, length(nested) > 0L, b)
  for (g in nested) equal_variances(name, group, g, b)
  spread_over("fitted", quote(fitted(M)), "fitted values", name, b)
  for (x in numbers) spread_over(x, call("$", quote(d), as.name(x)), x, name, b)
  for (x in single) linearity_of(name, x, c(b, list(X = as.name(x))))
  groups <- block_groups(m)
  for (k in seq_along(groups)) random_normality(name, names(VarCorr(m))[k], groups[k], b)
  collinearity(name, terms, b)
  list()
}

residual_normality <- function(name, b) {
  statistic(
    "assumptions/outcome/values", length(unique(getME(M, "y"))), "Distinct values of the outcome",
    "count", bind = b, model = name
  )
  statistic(
    "assumptions/residual/skewness", skewness(RES), "Skewness of the level-1 residuals",
    "shape", bind = b, model = name
  )
  statistic(
    "assumptions/residual/kurtosis", excess_kurtosis(RES),
    "Excess kurtosis of the level-1 residuals", "shape", bind = b, model = name
  )
  statistic(
    "assumptions/residual/outliers", sum(abs(SCALED) > 3.29),
    "Level-1 residuals beyond 3.29 SD", "count", bind = b, model = name
  )
  for (side in c("low", "high")) {
    b$SIGN <- if (side == "low") -1 else 1
    statistic(
      paste0("assumptions/residual/outliers_", side), sum(SIGN * SCALED > 3.29),
      paste("Level-1 residuals beyond 3.29 SD,", side), "count", bind = b, model = name
    )
  }
  statistic(
    "assumptions/residual/outliers_expected", 2 * pnorm(-3.29) * nobs(M),
    "Number beyond 3.29 SD expected under normality", "mean_count", bind = b, model = name
  )
  qq_series("assumptions/residual", b$RES, "band_residuals", name, b)
}

qq_series <- function(at, values, band, name, b) {
  b$V <- resolve(values, b)
  b$BAND <- as.name(band)
  object(band, qq_band(length(V), LEVEL), bind = b)
  series(paste0(at, "/qq_sample"), qq_sample(V), "Standardised quantiles", "SD", name, b)
  series(
    paste0(at, "/qq_theoretical"), qnorm(qq_points(length(V))), "Normal quantiles", "SD", name, b
  )
  series(paste0(at, "/qq_lower"), BAND$lower, "Lower limit of the band", "SD", name, b)
  series(paste0(at, "/qq_upper"), BAND$upper, "Upper limit of the band", "SD", name, b)
  statistic(
    paste0(at, "/qq_outside"), mean(qq_sample(V) < BAND$lower | qq_sample(V) > BAND$upper),
    "Share of the plotted quantiles outside the simultaneous band", "share",
    bind = b, model = name
  )
}

# Bartlett's test over the groups of `g`, with variances pooled from the units of `lowest`.
equal_variances <- function(name, lowest, g, b) {
  at <- function(what) paste("assumptions/bartlett", g, what, sep = "/")
  b$G <- as.name(lowest)
  b$OF <- as.name(g)
  fit <- make.names(paste0("bartlett_", g))
  if (g == lowest) {
    object(fit, bartlett_homogeneity(M, d$G), bind = b)
  } else {
    object(fit, bartlett_homogeneity(M, d$G, d$OF), bind = b)
  }
  types <- c(K = "statistic", df = "integer", p = "p", groups = "count", least = "integer")
  labels <- c(
    K = "Bartlett's statistic of equal level-1 variances", df = "Its degrees of freedom",
    p = "p of equal level-1 variances", groups = "Groups in Bartlett's test",
    least = "Smallest residual degrees of freedom of a group in it"
  )
  b$R <- as.name(fit)
  for (what in names(types)) {
    b$WHAT <- what
    label <- paste0(labels[[what]], ": ", g)
    if (have(fit)) {
      statistic(
        at(what), R[[WHAT]], label, types[[what]], bind = b, model = name,
        method = "Bartlett (1937), OLS in each unit, groups with at least 3 residual df"
      )
    } else {
      absent(at(what), why(fit, "not computed"), label)
    }
  }
}

residual_spread <- function(name, separable, b) {
  series(
    "assumptions/spread/fitted", fitted(M)[some_rows(nobs(M))], "Fitted values", model = name,
    bind = b
  )
  series(
    "assumptions/spread/residual", RES[some_rows(nobs(M))], "Residuals", model = name,
    bind = b
  )
  smooth_series(
    "assumptions/spread", quote(smooth_points(fitted(M), RES, 200)), "Fitted values of the smooth",
    name, b
  )
  if (separable) object("homogeneity", variance_homogeneity(M, d$G), bind = b)
  crossing <- "the rows of a group differ by the grouping that crosses it as well as by chance"
  if (have("homogeneity")) {
    said <- "H of Raudenbush & Bryk (2002), groups with at least 10 residual df"
    statistic(
      "assumptions/homogeneity/H", homogeneity$H, "Statistic of equal level-1 variances",
      "statistic", method = said, model = name
    )
    statistic(
      "assumptions/homogeneity/df", homogeneity$df, "Degrees of freedom", "integer", method = said,
      model = name
    )
    statistic(
      "assumptions/homogeneity/p", homogeneity$p, "p of equal level-1 variances", "p",
      method = said, model = name
    )
    statistic(
      "assumptions/homogeneity/groups", homogeneity$groups, "Groups in the test", "count",
      method = said, model = name
    )
  } else {
    for (what in c("H", "df", "p", "groups")) {
      absent(
        paste0("assumptions/homogeneity/", what), why("homogeneity", crossing),
        "H test of equal level-1 variances"
      )
    }
  }
  series(
    "assumptions/groups/sd", group_sd(M, d$G)[group_sizes(d$G) > 1], "Residual SD per group",
    model = name, bind = b
  )
  series(
    "assumptions/groups/n", group_sizes(d$G)[group_sizes(d$G) > 1], "Rows per group", model = name,
    bind = b
  )
  series(
    "assumptions/groups/names", levels(d$G)[group_sizes(d$G) > 1], "Groups", model = name, bind = b
  )
}

# How the spread of the residuals changes with the fitted values or a predictor.
spread_over <- function(key, values, label, name, b) {
  at <- function(what) paste("assumptions/spread/over", key, what, sep = "/")
  b$V <- resolve(values, b)
  labels <- c(
    low = "Residual SD in the lowest fifth of", middle = "Residual SD in the middle fifth of",
    high = "Residual SD in the highest fifth of",
    ratio = "Ratio of the residual SDs in the outer fifths of",
    bend = "Residual SD in the middle fifth, by the root mean square of the outer ones', of"
  )
  for (what in names(labels)) {
    b$WHAT <- what
    statistic(
      at(what), fifths(V, RES)[[WHAT]], paste(labels[[what]], label),
      if (what %in% c("ratio", "bend")) "ratio" else "sd", bind = b, model = name
    )
  }
  statistic(
    at("correlation"), spread_test(V, RES)$estimate,
    paste("Rank correlation with the absolute residuals:", label), "correlation", bind = b,
    model = name, method = "Spearman"
  )
  statistic(
    at("p"), spread_test(V, RES)$p.value,
    paste("p of the rank correlation with the absolute residuals:", label), "p", bind = b,
    model = name, method = "Spearman, t approximation, rows taken as independent"
  )
  labels <- c(
    statistic = "Statistic of the test of equal variance along", df = "df of that test:",
    p = "p of the test of equal variance along"
  )
  for (what in names(labels)) {
    b$WHAT <- what
    statistic(
      at(paste0("koenker/", what)), variance_test(V, RES)[[WHAT]], paste(labels[[what]], label),
      if (what == "df") "integer" else what, bind = b, model = name,
      method = "Koenker, linear and quadratic term, rows taken as independent"
    )
  }
}

linearity_of <- function(name, x, b) {
  at <- paste0("assumptions/linearity/", x)
  statistic(
    paste0(at, "/departure"), smooth_departure(d$X, RES),
    paste("Largest departure of the smooth:", x), "ratio", bind = b, model = name
  )
  series(paste0(at, "/x"), d$X[some_rows(nobs(M))], x, model = name, bind = b)
  series(
    paste0(at, "/residual"), RES[some_rows(nobs(M))], "Residuals", model = name, bind = b
  )
  smooth_series(at, quote(smooth_points(d$X, RES)), x, name, b)
}

# The points of a smooth by `call`, for a figure.
smooth_series <- function(at, call, label, name, b) {
  object("smooth", POINTS, bind = list(POINTS = resolve(call, b)))
  series(paste0(at, "/smooth_x"), smooth$x, label, model = name)
  series(paste0(at, "/smooth_y"), smooth$y, "Smoothed residual", model = name)
}

random_normality <- function(name, block, group, b) {
  variances <- diag(as.matrix(VarCorr(get(name, envir = analysis))[[block]]))
  for (effect in names(variances)) {
    at <- paste("assumptions/random", block, effect, sep = "/")
    b$GROUP <- group
    b$EFFECT <- effect
    if (variances[[effect]] <= 0) {
      for (what in c(
        "skewness", "kurtosis", "qq_sample", "qq_theoretical", "qq_lower", "qq_upper", "qq_outside"
      )) {
        absent(
          paste0(at, "/", what), "the variance is estimated as zero, so the groups do not differ",
          paste(effect, "of", group)
        )
      }
      next
    }
    label <- paste(effect, "of", group)
    statistic(
      paste0(at, "/skewness"), skewness(modes_of(M, GROUP)[[EFFECT]]), paste("Skewness:", label),
      "shape", bind = b, model = name
    )
    statistic(
      paste0(at, "/kurtosis"), excess_kurtosis(modes_of(M, GROUP)[[EFFECT]]),
      paste("Excess kurtosis:", label), "shape", bind = b, model = name
    )
    qq_series(
      at, quote(modes_of(M, GROUP)[[EFFECT]]), make.names(paste("band", group, effect)), name, b
    )
  }
}

# Generalised variance inflation of each term; `terms_` names the coefficients of each.
collinearity <- function(name, terms_, b) {
  for (term in names(terms_)) {
    b$TERM <- terms_[[term]]
    at <- function(what) paste0("assumptions/vif/", term, what)
    if (length(terms_) < 2) {
      for (what in c("", "/df", "/root")) {
        absent(at(what), "a model of one predictor has no collinearity", term)
      }
      next
    }
    said <- "Fox & Monette (1992), from the correlation matrix of the estimates, without the intercept"
    statistic(
      at(""), generalised_inflation(M, TERM), paste("Generalised variance inflation factor:", term),
      "ratio", bind = b, model = name, method = said
    )
    statistic(at("/df"), length(TERM), paste("Coefficients of", term), "integer", bind = b)
    statistic(
      at("/root"), generalised_inflation(M, TERM)^(1 / (2 * length(TERM))),
      paste("Inflation of the standard error:", term), "ratio", bind = b, model = name,
      method = said
    )
  }
}
