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
