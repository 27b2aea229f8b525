# Step 6: criteria, likelihood-ratio tests, variance explained.

fit_of_model <- function(id) {
  name <- paste0("m_", id)
  n <- nobs(get(name, envir = analysis))
  b <- list(M = as.name(name), ML = as.name(paste0("ml_", id)))
  said <- sprintf("ML, n = %d", n)
  at <- function(what) paste("fit", id, what, sep = "/")
  statistic(
    at("loglik"), as.numeric(logLik(ML)), "Log-likelihood", "criterion", bind = b, model = name,
    method = said
  )
  statistic(
    at("deviance"), -2 * as.numeric(logLik(ML)), "Deviance", "criterion", bind = b, model = name,
    method = said
  )
  statistic(at("aic"), AIC(ML), "AIC", "criterion", bind = b, model = name, method = said)
  statistic(at("bic"), BIC(ML), "BIC", "criterion", bind = b, model = name, method = said)
  statistic(
    at("r2m"), r2_marginal(M), "Marginal R2", "proportion", bind = b, model = name,
    method = "Nakagawa & Schielzeth (2013), Johnson (2014)"
  )
  statistic(
    at("r2c"), r2_conditional(M), "Conditional R2", "proportion", bind = b, model = name,
    method = "Nakagawa & Schielzeth (2013), Johnson (2014)"
  )
  list()
}

akaike_weights <- function(ids) {
  all <- as.call(
    c(list(as.name("c")), lapply(ids, function(i) bquote(AIC(.(as.name(paste0("ml_", i)))))))
  )
  object("akaike", akaike_weight(ALL), bind = list(ALL = all))
  for (i in seq_along(ids)) {
    statistic(
      paste("fit", ids[i], "weight", sep = "/"), akaike[I], "Akaike weight",
      "proportion", bind = list(I = i), model = paste0("m_", ids[i]),
      method = "AIC by ML"
    )
  }
  list()
}

# Two models, the smaller nested in the larger. kind: "fixed" (ML refits, chi-square), "variance"
# (one; as fitted, equal fixed parts, mixture of chi-squares), "several" (variances, likewise) or
# "both" (ML refits). The last two have the chi-square of all parameters: each part of the unknown
# mixture has fewer df, so its p is too large (Stram & Lee, 1994).
compare_models <- function(smaller, larger, kind, df) {
  prefix <- if (kind %in% c("fixed", "both")) "ml_" else "m_"
  b <- c(ratio_of(paste0(prefix, smaller), paste0(prefix, larger)), DF = df)
  reml <- isREML(get(paste0(prefix, larger), envir = analysis))
  said <- if (reml) "REML, equal fixed parts" else "ML"
  at <- function(what) paste("fit", larger, "lrt", what, sep = "/")
  model <- paste0("m_", larger)
  statistic(
    at("chisq"), RATIO, "Likelihood-ratio statistic", "statistic", bind = b,
    model = model, method = said
  )
  statistic(at("df"), DF, "Degrees of freedom", "integer", bind = b, model = model)
  if (kind == "variance") {
    statistic(
      at("p"), boundary_p(RATIO, DF), "p of the likelihood-ratio test", "p",
      bind = b, model = model,
      method = paste0(said, "; mixture of chi-squares with ", df - 1, " and ", df, " df")
    )
    statistic(
      at("p_naive"), pchisq(RATIO, DF, lower.tail = FALSE),
      "p from the chi-square alone (conservative)", "p", bind = b, model = model, method = said
    )
  } else {
    statistic(
      at("p"), pchisq(RATIO, DF, lower.tail = FALSE),
      "p of the likelihood-ratio test", "p", bind = b, model = model,
      method = if (kind == "fixed") said else paste0(said, "; chi-square with ", df, " df, conservative")
    )
  }
  list()
}

# Null model against no grouping at all: one variance at its boundary, by the criterion of the fit.
test_grouping <- function(null, outcome) {
  name <- paste0("m_", null)
  reml <- isREML(get(name, envir = analysis))
  b <- list(M = as.name(name), Y = as.name(outcome), REML = reml)
  said <- paste0(if (reml) "REML" else "ML", ", against a model without groups")
  b$RATIO <- if (adjusted()) {
    quote(ratio_without_groups(M))
  } else {
    quote(max(0, 2 * as.numeric(logLik(M) - logLik(lm(Y ~ 1, data = d), REML = REML))))
  }
  b$RATIO <- resolve(b$RATIO, b)
  statistic(
    "fit/grouping/chisq", RATIO, "Likelihood-ratio statistic of the group variance", "statistic",
    bind = b, model = name,
    method = said
  )
  statistic(
    "fit/grouping/p", boundary_p(RATIO, 1), "p of the group variance", "p", bind = b, model = name,
    method = paste0(said, "; mixture of chi-squares with 0 and 1 df")
  )
  statistic(
    "fit/grouping/p_naive",
    pchisq(RATIO, 1, lower.tail = FALSE),
    "p of the group variance from the chi-square alone (conservative)", "p", bind = b, model = name,
    method = paste0(said, "; chi-square with 1 df")
  )
  list()
}

# Proportional reduction of each variance component against the null model.
variance_explained <- function(id, null, blocks) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), NULLM = as.name(paste0("m_", null)))
  at <- function(what) paste("fit", id, "reduction", what, sep = "/")
  said <- "(v0 - v1) / v0 against the null model; Raudenbush & Bryk (2002)"
  statistic(
    at("residual"), reduction(sigma(NULLM)^2, sigma(M)^2),
    "Proportional reduction of the residual variance", "share", bind = b, model = name,
    method = said
  )
  model_as_m(name)
  for (g in blocks) {
    b$G <- g
    null_variance <- component(get(paste0("m_", null), envir = analysis), g, "(Intercept)")
    if (!nzchar(intercept_block(m, g))) {
      absent(
        at(g), "the model has no random intercept for these groups",
        paste("Proportional reduction:", g)
      )
    } else if (null_variance <= 0) {
      absent(
        at(g), "the null model's variance is zero, there is nothing to reduce",
        paste("Proportional reduction:", g)
      )
    } else {
      statistic(
        at(g),
        reduction(component(NULLM, G, "(Intercept)"), variance_at_means(M, G)),
        paste("Proportional reduction of the variance between groups:", g), "share", bind = b,
        model = name, method = paste0(said, "; at the means of predictors whose slopes vary")
      )
    }
  }
  list()
}

# A second n for BIC, and AICc.
small_sample_criteria <- function(id, group) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), ML = as.name(paste0("ml_", id)), G = group)
  n <- nobs(get(name, envir = analysis))
  at <- function(what) paste("fit", id, what, sep = "/")
  statistic(
    at("aicc"), aic_corrected(ML), "AICc", "criterion", bind = b, model = name,
    method = sprintf("ML, n = %d rows", n)
  )
  if (nzchar(group) && group %in% names(ngrps(get(name, envir = analysis)))) {
    groups <- ngrps(get(name, envir = analysis))[[group]]
    statistic(
      at("bic_groups"), bic_groups(ML, G), "BIC, n = number of groups", "criterion", bind = b,
      model = name, method = sprintf("ML, n = %d groups", groups)
    )
  } else {
    absent(
      at("bic_groups"), "the model has no grouping whose units are independent of each other",
      "BIC, n = number of groups"
    )
  }
  list()
}

# The implied variance by level (Rights & Sterba, 2019, 2023). `labels` names the parts to give, `of`
# the level of each, 0 for none; `levels` the levels.
variance_partition <- function(id, groups, crossed, labels, of, levels) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), GROUPS = names_call(groups), CROSSED = crossed)
  said <- if (crossed) {
    "columns of the design split by an additive model of the crossed groupings"
  } else {
    "Rights & Sterba (2019, 2023), columns of the design split at the group means"
  }
  if (crossed) {
    object("parts", variance_parts(M, GROUPS, crossed = TRUE), bind = b)
  } else {
    object("parts", variance_parts(M, GROUPS), bind = b)
  }
  for (k in seq_along(labels)) {
    b$W <- names(labels)[k]
    b$L <- of[k]
    at <- function(...) paste("fit/partition", ..., sep = "/")
    partition_entry(at(b$W), quote(parts[[W]]), labels[[k]], "variance", name, said, b)
    partition_entry(
      at("total", b$W), quote(share_of(parts, W, names(parts))),
      paste0("Share of the total: ", labels[[k]]), "share", name, said, b
    )
    if (of[k] > 0) {
      partition_entry(
        at("own", b$W), quote(share_of(parts, W, parts_at(parts, L))),
        paste0("Share of its level: ", labels[[k]]), "share", name, said, b
      )
    }
  }
  for (l in seq_along(levels)) {
    b$L <- l
    partition_entry(
      paste0("fit/partition/level/", l),
      quote(share_of(parts, parts_at(parts, L), names(parts))),
      paste0("Share of the total: all ", levels[[l]]), "share", name, said, b
    )
  }
  if (!have("parts")) {
    return(list(reason = why("parts", "not computed")))
  }
  list(
    reason = "", conflated = conflated(get(name, envir = analysis), groups, crossed),
    tiny = names(analysis$parts)[abs(analysis$parts) < 1e-10 * sum(analysis$parts)]
  )
}

names_call <- function(x) if (length(x) == 1L) x else as.call(c(list(as.name("c")), as.list(x)))

partition_entry <- function(id, expr, label, type, name, said, b) {
  if (!have("parts")) {
    return(absent(id, why("parts", "not computed"), label))
  }
  statistic(
    id, EXPR, label, type, "", said, name, list(EXPR = resolve(expr, b)),
    otherwise = "this part of the variance is zero, there is nothing to divide"
  )
}

# Percentile intervals of R2 and of the shares of the parts (a character vector of labels by name) by
# parametric bootstrap.
r2_bootstrap <- function(id, groups, crossed, labels, samples, seed, level) {
  name <- paste0("m_", id)
  refits <- bootstrapped(name, samples, seed)
  b <- list(
    M = as.name(name), REFITS = as.name(refits), GROUPS = names_call(groups), CROSSED = crossed,
    TAIL = (1 - level) / 2
  )
  if (have(refits)) {
    object("r2_samples", bootstrap_shares(M, REFITS, GROUPS, CROSSED), bind = b)
  }
  said <- interval_method("bootstrap", level, samples, name)
  labels <- c(r2m = "marginal R2", r2c = "conditional R2", labels)
  for (what in names(labels)) {
    for (side in c("lower", "upper")) {
      at <- paste("fit/bootstrap", what, side, sep = "/")
      label <- paste0("Bootstrap limit, ", side, ": ", labels[[what]])
      b$W <- what
      b$SIDE <- side
      if (have("r2_samples")) {
        statistic(
          at, percentile_limit(r2_samples[, W], TAIL, SIDE), label, "proportion", bind = b,
          model = name, method = said
        )
      } else {
        reason <- why("r2_samples", why(refits, "the bootstrap could not be made"))
        absent(at, reason, label)
      }
    }
  }
  if (have(refits)) {
    statistic(
      "fit/bootstrap/samples", length(REFITS$converged), "Bootstrap samples", "count", bind = b,
      model = name, method = said
    )
    statistic(
      "fit/bootstrap/failed", sum(!REFITS$converged), "Bootstrap fits that failed", "count",
      bind = b, model = name, method = said
    )
    statistic(
      "fit/bootstrap/boundary", sum(at_boundary(M, REFITS)),
      "Bootstrap fits with a variance at zero or a correlation at -1 or 1", "count", bind = b,
      model = name, method = said
    )
  }
  list(have = have("r2_samples"))
}

# Prediction error for rows and for means of the groups of each level, against the null model.
snijders_bosker <- function(id, of, null, groups) {
  b <- list(M = as.name(of), NULLM = as.name(paste0("m_", null)))
  at <- function(what) paste("fit", id, "snijders", what, sep = "/")
  said <- "Snijders & Bosker (2012), random intercepts only, against the null model"
  statistic(
    at("rows"), error_reduction(M, NULLM), "Reduction of prediction error, rows", "share",
    method = said, model = of, bind = b
  )
  for (g in groups) {
    b$G <- g
    statistic(
      at(g), error_reduction(M, NULLM, G),
      paste("Reduction of prediction error, means:", g), "share",
      method = paste0(said, "; averaged over the groups"), model = of, bind = b
    )
  }
  list()
}

# How the fixed part predicts groups that its coefficients were not estimated from. `prefix` is where
# the numbers go.
leave_group_out <- function(id, prefix, group, crossed, predictors, unit) {
  name <- paste0("m_", id)
  found <- make.names(paste("leftout", id, if (crossed) group, sep = "_"))
  b <- list(M = as.name(name), P = as.name(found), G = group)
  at <- function(what) paste(prefix, what, sep = "/")
  said <- "each group predicted by fixed effects estimated without it, variances held"
  error <- quote(prediction_error(getME(M, "y"), P))
  line <- quote(lm(getME(M, "y") ~ P))
  if (weighted()) {
    said <- paste0(said, "; rows counted by their prior weights")
    error$w <- quote(weights(M))
    line$weights <- quote(weights(M))
  }
  b$LINE <- resolve(line, b)
  b$OUTSIDE <- resolve(error, b)
  b$INSIDE <- resolve(error, list(M = b$M, P = bquote(fixed_predictions(.(b$M)))))
  if (crossed) {
    object(found, left_out_crossed(M, G), bind = b)
  } else {
    object(found, left_out_predictions(M, G), bind = b)
  }
  statistic(
    at("inside"), INSIDE,
    "RMSE of the fixed part in the sample", "sd", unit, bind = b, model = name
  )
  labels <- c(
    outside = "RMSE for groups left out", slope = "Calibration slope",
    intercept = "Calibration intercept"
  )
  if (!have(found)) {
    for (what in names(labels)) absent(at(what), why(found, "not computed"), labels[[what]])
    return(list())
  }
  statistic(
    at("outside"), OUTSIDE, labels[["outside"]], "sd", unit, said, name,
    b
  )
  if (!predictors) {
    for (what in c("slope", "intercept")) {
      absent(at(what), "a model without predictors has no predictions that differ", labels[[what]])
    }
    return(list())
  }
  statistic(
    at("slope"), coef(LINE)[[2L]], labels[["slope"]], "ratio", "",
    paste0("outcome regressed on the predictions; ", said), name, b
  )
  statistic(
    at("intercept"), coef(LINE)[[1L]], labels[["intercept"]], "estimate", unit,
    paste0("outcome regressed on the predictions; ", said), name, b
  )
  list()
}

# Criteria on the scale of the outcome before its transformation: of each model of the sequence, and of
# the final model's formula for the outcome on the scales that step 3 fitted.
criteria_before <- function(ids, transform, scales) {
  objects <- c(paste0("m_", ids), paste0("scale_", scales))
  names_ <- c(ids, paste0("scale_", scales))
  transforms <- c(rep(transform, length(ids)), scales)
  for (k in seq_along(objects)[have_each(objects)]) {
    m <- get(objects[k], envir = analysis)
    b <- list(M = as.name(objects[k]), T = transforms[k], N = log(nobs(m)))
    at <- function(what) paste("fit/before", names_[k], what, sep = "/")
    said <- sprintf("ML, n = %d, density of the outcome before its transformation", nobs(m))
    entry <- function(what, expr, label) {
      statistic(
        at(what), EXPR, label, "criterion", method = said, model = objects[k],
        bind = list(EXPR = resolve(expr, b))
      )
    }
    entry("deviance", quote(criterion_before(M, T)), "Deviance, outcome before transformation")
    entry("aic", quote(criterion_before(M, T, 2)), "AIC, outcome before transformation")
    entry(
      "bic", quote(criterion_before(M, T, log(nobs(M)))), "BIC, outcome before transformation"
    )
  }
  list(found = names_[have_each(objects)])
}

have_each <- function(names) vapply(names, have, FALSE)

# AIC and BIC of a REML fit as other programs define them.
criteria_of_programs <- function(m, entry) {
  entry(
    "aic_covariance", quote(criterion_by(M, 2, fixed = FALSE)), "AIC, covariance parameters alone",
    "criterion", "REML"
  )
  said <- sprintf("REML, n = %d", nobs(m) - length(fixef(m)))
  entry(
    "bic_residual_n", quote(criterion_by(M, log(nobs(M) - length(fixef(M))))),
    "BIC, n less the fixed effects", "criterion", said
  )
  entry(
    "bic_covariance", quote(criterion_by(M, log(nobs(M) - length(fixef(M))), fixed = FALSE)),
    "BIC, covariance parameters alone, n less the fixed effects", "criterion", said
  )
  if (length(ngrps(m)) == 1L) {
    entry(
      "bic_subjects", quote(criterion_by(M, log(ngrps(M)[[1L]]), fixed = FALSE)),
      "BIC, covariance parameters alone, n = groups", "criterion",
      sprintf("REML, n = %d", ngrps(m)[[1L]])
    )
  }
}

# Wald's test of the group variance, of the null model; it takes a second of the patience at most.
wald_definition <- function(null, group) {
  m <- get(null, envir = analysis)
  at <- "fit/definitions/wald_p"
  label <- "p of the group variance by Wald's test"
  if (evaluation_cost(m) * 2 * (length(getME(m, "theta")) + 1)^2 > 1) {
    return(absent(at, "its standard error is not computed for a model of this size", label))
  }
  statistic(
    at, wald_variance_p(M, G), label, "p", "", "Wald z, one-sided", null,
    list(M = as.name(null), G = group)
  )
}

# The same quantities by other definitions, for the final model.
other_definitions <- function(id, null, group) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(M = as.name(name))
  entry <- function(what, expr, label, type = "proportion", method = "") {
    if (weighted() && grepl("performance", what, fixed = TRUE)) {
      reason <- "performance takes all rows to have the same residual variance"
      return(absent(paste0("fit/definitions/", what), reason, label))
    }
    statistic(
      paste0("fit/definitions/", what), EXPR, label, type, "", method, name,
      list(EXPR = resolve(expr, b))
    )
  }
  entry("icc_at_zero", quote(icc_at_zero(M)), "ICC where the predictors with slopes are zero")
  entry("icc_intercepts", quote(icc_intercepts(M)), "Share of the intercept variances")
  entry("icc_adjusted", quote(icc_adjusted(M)), "Adjusted ICC")
  entry("icc_unadjusted", quote(icc_unadjusted(M)), "Unadjusted ICC")
  entry("icc_performance", quote(icc_by_performance(M)), "Adjusted ICC by performance")
  entry("r2_performance_marginal", quote(r2_by_performance(M)), "marginal R2 by performance")
  entry(
    "r2_performance_conditional", quote(r2_by_performance(M, conditional = TRUE)),
    "conditional R2 by performance"
  )
  if (!weighted()) {
    entry("r2m_blocks", quote(r2_by_blocks(M)), "Marginal R2 by MuMIn")
    entry("r2c_blocks", quote(r2_by_blocks(M, conditional = TRUE)), "Conditional R2 by MuMIn")
  }
  entry("r2m_intercepts", quote(r2_without_slopes(M)), "Marginal R2 with intercept variances only")
  entry(
    "r2c_intercepts", quote(r2_without_slopes(M, conditional = TRUE)),
    "Conditional R2 with intercept variances only"
  )
  entry(
    "r2m_correlation", quote(squared_correlation(M, fixed_predictions(M))),
    "Squared correlation of outcome and fixed part"
  )
  entry(
    "r2c_correlation", quote(squared_correlation(M, fitted(M))),
    "Squared correlation of outcome and fitted values"
  )
  if (isREML(m)) {
    said <- sprintf("REML, n = %d", nobs(m))
    entry("aic_reml", quote(AIC(M)), "AIC with the REML criterion", "criterion", said)
    entry("bic_reml", quote(BIC(M)), "BIC with the REML criterion", "criterion", said)
    criteria_of_programs(m, entry)
  }
  if (nzchar(null)) wald_definition(null, group)
  if (have("without_1")) {
    entry(
      "cook_refit", quote(refit_cook(fixed_part(M), fixed_part(without_1))),
      "Cook's distance with a refit", "distance"
    )
  }
  list()
}
