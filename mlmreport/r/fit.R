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
  for (i in seq_along(ids)) {
    statistic(
      paste("fit", ids[i], "weight", sep = "/"), akaike_weight(ALL)[I], "Akaike weight",
      "proportion", bind = list(ALL = all, I = i), model = paste0("m_", ids[i]),
      method = "AIC by ML"
    )
  }
  list()
}

# Two models, the smaller nested in the larger. kind: "fixed" (ML refits, chi-square) or
# "variance" (as fitted, equal fixed parts, mixture of chi-squares).
compare_models <- function(smaller, larger, kind, df) {
  prefix <- if (kind == "fixed") "ml_" else "m_"
  b <- list(A = as.name(paste0(prefix, smaller)), B = as.name(paste0(prefix, larger)), DF = df)
  reml <- isREML(get(paste0(prefix, larger), envir = analysis))
  said <- if (reml) "REML, equal fixed parts" else "ML"
  at <- function(what) paste("fit", larger, "lrt", what, sep = "/")
  model <- paste0("m_", larger)
  statistic(
    at("chisq"), likelihood_ratio(A, B), "Likelihood-ratio statistic", "statistic", bind = b,
    model = model, method = said
  )
  statistic(at("df"), DF, "Degrees of freedom", "integer", bind = b, model = model)
  if (kind == "variance") {
    statistic(
      at("p"), boundary_p(likelihood_ratio(A, B), DF), "p of the likelihood-ratio test", "p",
      bind = b, model = model,
      method = paste0(said, "; mixture of chi-squares with ", df - 1, " and ", df, " df")
    )
    statistic(
      at("p_naive"), pchisq(likelihood_ratio(A, B), DF, lower.tail = FALSE),
      "p from the chi-square alone (conservative)", "p", bind = b, model = model, method = said
    )
  } else {
    statistic(
      at("p"), pchisq(likelihood_ratio(A, B), DF, lower.tail = FALSE),
      "p of the likelihood-ratio test", "p", bind = b, model = model, method = said
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
  statistic(
    "fit/grouping/chisq",
    max(0, 2 * as.numeric(logLik(M) - logLik(lm(Y ~ 1, data = d), REML = REML))),
    "Likelihood-ratio statistic of the group variance", "statistic", bind = b, model = name,
    method = said
  )
  statistic(
    "fit/grouping/p",
    boundary_p(max(0, 2 * as.numeric(logLik(M) - logLik(lm(Y ~ 1, data = d), REML = REML))), 1),
    "p of the group variance", "p", bind = b, model = name,
    method = paste0(said, "; mixture of chi-squares with 0 and 1 df")
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
  for (g in blocks) {
    b$G <- g
    m <- get(name, envir = analysis)
    null_variance <- component(get(paste0("m_", null), envir = analysis), g, "(Intercept)")
    if (!g %in% names(VarCorr(m)) || !"(Intercept)" %in% rownames(VarCorr(m)[[g]])) {
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
        reduction(component(NULLM, G, "(Intercept)"), component(M, G, "(Intercept)")),
        paste("Proportional reduction of the intercept variance:", g), "share", bind = b,
        model = name, method = said
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

# Shares of the variance within and between groups (Rights & Sterba, 2019).
variance_partition <- function(id) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name))
  said <- "Rights & Sterba (2019), columns of the design split at the group means"
  object("parts", variance_parts(M), bind = b)
  wholes <- list(
    total = c("f1", "f2", "v", "m", "residual"), within = c("f1", "v", "residual"),
    between = c("f2", "m")
  )
  words <- c(
    f1 = "fixed effects within groups", f2 = "fixed effects between groups",
    v = "slopes that vary over groups", m = "group means that vary", residual = "residual"
  )
  for (what in names(words)) {
    b$W <- what
    partition_entry(
      paste0("fit/partition/", what), quote(parts[[W]]), words[[what]], "variance", name, said, b
    )
  }
  for (whole in names(wholes)) {
    b$ALL <- as.call(c(list(as.name("c")), as.list(wholes[[whole]])))
    for (what in wholes[[whole]]) {
      b$W <- what
      partition_entry(
        paste("fit/partition", whole, what, sep = "/"), quote(share_of(parts, W, ALL)),
        paste0("Share of ", words[[what]], ", ", whole), "share", name, said, b
      )
    }
  }
  if (have("parts")) list(conflated = conflated(get(name, envir = analysis))) else list()
}

partition_entry <- function(id, expr, label, type, name, said, b) {
  if (!have("parts")) {
    return(absent(id, why("parts", "not computed"), label))
  }
  statistic(
    id, EXPR, label, type, "", said, name, list(EXPR = resolve(expr, b)),
    otherwise = "this part of the variance is zero, there is nothing to divide"
  )
}

# Prediction error for rows and for group means, against the null model.
snijders_bosker <- function(id, of, null, group) {
  b <- list(M = as.name(of), NULLM = as.name(paste0("m_", null)), G = as.name(group))
  at <- function(what) paste("fit", id, "snijders", what, sep = "/")
  said <- "Snijders & Bosker (2012), random intercepts only, against the null model"
  statistic(
    at("rows"), error_reduction(M, NULLM), "Reduction of prediction error, rows", "share",
    method = said, model = of, bind = b
  )
  statistic(
    at("groups"), error_reduction(M, NULLM, harmonic_mean(group_sizes(d$G))),
    "Reduction of prediction error, group means", "share",
    method = paste0(said, "; harmonic mean of the group sizes"), model = of, bind = b
  )
  list()
}

# How the fixed part predicts groups that its coefficients were not estimated from.
leave_group_out <- function(id, predictors, unit) {
  name <- paste0("m_", id)
  found <- paste0("leftout_", id)
  b <- list(M = as.name(name), P = as.name(found))
  at <- function(what) paste("fit", id, "leftout", what, sep = "/")
  said <- "each group predicted by fixed effects estimated without it, variances held"
  object(found, left_out_predictions(M), bind = b)
  statistic(
    at("inside"), prediction_error(getME(M, "y"), fixed_predictions(M)),
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
    at("outside"), prediction_error(getME(M, "y"), P), labels[["outside"]], "sd", unit, said, name,
    b
  )
  if (!predictors) {
    for (what in c("slope", "intercept")) {
      absent(at(what), "a model without predictors has no predictions that differ", labels[[what]])
    }
    return(list())
  }
  statistic(
    at("slope"), coef(lm(getME(M, "y") ~ P))[[2L]], labels[["slope"]], "ratio", "",
    paste0("outcome regressed on the predictions; ", said), name, b
  )
  statistic(
    at("intercept"), coef(lm(getME(M, "y") ~ P))[[1L]], labels[["intercept"]], "estimate", unit,
    paste0("outcome regressed on the predictions; ", said), name, b
  )
  list()
}
