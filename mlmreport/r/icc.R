# Step 4: the null model's variance split, and what it means for the design.

step_icc <- function(null, blocks, lowest, level, reason) {
  icc_shares(null, blocks, level, reason)
  icc_consequences(null, blocks, lowest)
}

# The variance of each grouping and of the rows, and their shares in the total.
icc_shares <- function(null, blocks, level, reason) {
  m <- as.name(null)
  b <- list(M = m, V = variance_call(m), TOTAL = total_call(m, blocks))
  statistic(
    "icc/sigma2", V, "Residual variance of the null model", "variance", bind = b, model = null,
    method = if (weighted()) "mean over the rows of sigma2 / weight" else ""
  )
  statistic(
    "icc/total", TOTAL, "Total variance of the null model", "variance",
    bind = b, model = null
  )
  statistic(
    "icc/level1", V / TOTAL, "Share of the variance at the lowest level", "share", bind = b,
    model = null
  )
  for (g in blocks) icc_of_group(m, null, g, blocks, level, !nzchar(reason))
  list()
}

# What the shares mean for means: of the groups of the grouping `lowest`, and of all rows.
icc_consequences <- function(null, blocks, lowest) {
  m <- as.name(null)
  b <- list(G = as.name(lowest), M = m, B = lowest, TOTAL = total_call(m, blocks))
  b$AMOUNT <- amount_call(m, lowest)
  statistic(
    "icc/reliability", mean_reliability(component(M, B, "(Intercept)"), sigma(M)^2, AMOUNT),
    "Mean reliability of the group means, ICC(2)", "proportion", bind = b, model = null,
    method = if (weighted()) {
      "mean over groups of tau / (tau + sigma2 / sum of the weights)"
    } else {
      "mean over groups of tau / (tau + sigma2 / n_j)"
    }
  )
  if (weighted()) {
    reason <- "it is not defined here with prior weights, by which rows do not count alike"
    absent("icc/design_effect", reason, "Design effect")
    absent("icc/effective_n", reason, "Effective sample size for a mean")
    absent("icc/design_effect_mean", reason, "Design effect by the mean size")
    absent("icc/reliability_mean", reason, "Reliability of a group mean of the mean size")
    return(list())
  }
  b$DEFF <- design_call(m, blocks, b$TOTAL, quote(group_sizes(d$G)))
  b$SIMPLE <- design_call(m, blocks, b$TOTAL, quote(mean(group_sizes(d$G))))
  statistic(
    "icc/design_effect", DEFF, "Design effect", "ratio", bind = b, model = null,
    method = "1 + sum over groupings of ((1 + cv^2) mean size - 1) times their share"
  )
  statistic(
    "icc/effective_n", nrow(d) / (DEFF), "Effective sample size for a mean", "count", bind = b,
    model = null, method = "n / design effect"
  )
  statistic(
    "icc/design_effect_mean", SIMPLE, "Design effect by the mean size", "ratio", bind = b,
    model = null, method = "1 + sum over groupings of (mean size - 1) times their share"
  )
  statistic(
    "icc/reliability_mean",
    spearman_brown(
      component(M, B, "(Intercept)") / (component(M, B, "(Intercept)") + sigma(M)^2),
      mean(group_sizes(d$G))
    ),
    "Reliability of a group mean of the mean size", "proportion", bind = b, model = null,
    method = "Spearman-Brown with the mean group size"
  )
  list()
}

# Reliability of the means of the units of each grouping, ICC(2); `groups` from the lowest up.
icc_reliabilities <- function(null, groups, crossed) {
  m <- as.name(null)
  for (i in seq_along(groups)) {
    own <- if (crossed) groups[i] else groups[seq_len(i)]
    tau <- as.call(c(quote(c), lapply(own, function(k) bquote(component(.(m), .(k), "(Intercept)")))))
    ids <- as.call(c(quote(list), lapply(own, function(k) call("$", quote(d), as.name(k)))))
    reliability_call <- bquote(nested_reliability(.(tau), sigma(.(m))^2, .(ids)))
    if (weighted()) reliability_call$w <- bquote(weights(.(m)))
    statistic(
      paste0("icc/", groups[i], "/reliability"),
      mean(RELIABILITY),
      paste("Mean reliability of the means, ICC(2):", groups[i]), "proportion",
      bind = list(RELIABILITY = reliability_call), model = null,
      method = "mean over units of tau / (tau + 1 / precision of the unit's data)"
    )
  }
  list()
}

# Agreement of the ratings within the units of a grouping. `null_variance` is 0 for equally likely
# categories.
icc_agreement <- function(outcome, groups, categories, null_variance) {
  random <- if (null_variance > 0) null_variance else (categories^2 - 1) / 12
  said <- if (null_variance > 0) {
    sprintf("null distribution with the variance %g that the spec gives", null_variance)
  } else {
    sprintf("null distribution: %d equally likely categories", categories)
  }
  for (g in groups) {
    b <- list(Y = as.name(outcome), G = as.name(g), A = categories, V = random)
    name <- paste0("agreement_", make.names(g))
    object(name, within_agreement(d$Y, d$G, A, V), bind = b)
    b$R <- as.name(name)
    at <- function(what) paste("icc", g, "rwg", what, sep = "/")
    wanted <- c("mean", "median", "min", "max", "high", "groups", "single", "negative")
    if (!have(name)) {
      for (what in wanted) absent(at(what), why(name, "not computed"), "Agreement within groups")
      next
    }
    label <- paste("Agreement r_wg within", g)
    statistic(at("mean"), mean(R), paste0(label, ": mean"), "proportion", bind = b, method = said)
    statistic(
      at("median"), median(R), paste0(label, ": median"), "proportion", bind = b, method = said
    )
    statistic(at("min"), min(R), paste0(label, ": smallest"), "proportion", bind = b, method = said)
    statistic(at("max"), max(R), paste0(label, ": largest"), "proportion", bind = b, method = said)
    statistic(
      at("high"), mean(R >= 0.7), paste0(label, ": share at .70 or above"), "share", bind = b,
      method = said
    )
    statistic(at("groups"), length(R), "Groups with an index of agreement", "count", bind = b)
    statistic(
      at("single"), sum(group_sizes(d$G) < 2), "Groups of one, without an index of agreement",
      "count", bind = b
    )
    statistic(
      at("negative"), sum(raw_agreement(d$Y, d$G, V) < 0),
      "Groups whose ratings vary more than random ones", "count", bind = b
    )
  }
  list(null = random)
}

# A limit of the share at one value `b$AT` of the predictor.
along_limit <- function(id, label, side, model, b) {
  b$SIDE <- side
  if (have("theta_vcov")) {
    statistic(
      id, vpc_interval(M, theta_vcov, G, E, AT, LEVEL)[, SIDE], label, "proportion", bind = b,
      model = model,
      method = sprintf("%g %% pointwise interval, delta method on the logit", 100 * b$LEVEL)
    )
  } else {
    absent(id, why("theta_vcov", "not computed"), label)
  }
}

# The limits of the share along a numeric predictor.
along_band <- function(at, label, model, b) {
  for (side in c("lower", "upper")) {
    b$SIDE <- side
    id <- at(paste0("share_", side))
    if (have("theta_vcov")) {
      series(
        id,
        vpc_interval(M, theta_vcov, G, E, seq(min(d$X), max(d$X), length.out = 61), LEVEL)[, SIDE],
        paste0(label, ": ", side, " limit"), bind = b, model = model
      )
    } else {
      absent(id, why("theta_vcov", "not computed"), label)
    }
  }
}

# Standard errors of the final model's coefficients with the random effects of one grouping left
# out; `formulas` name the groupings.
icc_ignoring <- function(id, formulas, reml, terms, unit) {
  name <- paste0("m_", id)
  for (k in seq_along(formulas)) {
    refit <- paste0("ignoring_", k)
    b <- list(R = as.name(refit))
    b$CALL <- lmer_call(
      str2lang(formulas[[k]]), reml, control = quote(lmerControl(calc.derivs = FALSE))
    )
    model_object(refit, b$CALL)
    for (term in terms) {
      b$TERM <- term
      at <- paste("icc/ignoring", names(formulas)[k], term, sep = "/")
      label <- paste0("SE without the random effects of ", names(formulas)[k], ": ", term)
      if (have(refit)) {
        statistic(
          at, sqrt(vcov(R)[TERM, TERM]), label, "se", unit, "refit without the grouping", name, b,
          otherwise = "the model without this grouping cannot be estimated"
        )
      } else {
        absent(at, "the model without this grouping cannot be fitted", label)
      }
    }
  }
  list()
}

# Correlation of two lowest-level units of the same unit of each grouping, which with nested
# groupings share the units above it too; `groups` are the groupings from the lowest up.
icc_same_unit <- function(null, blocks, groups, crossed) {
  m <- as.name(null)
  for (i in seq_along(groups)) {
    g <- groups[i]
    own <- if (crossed) g else groups[i:length(groups)]
    shared <- Reduce(
      function(x, y) bquote(.(x) + .(y)),
      lapply(own, function(k) bquote(component(.(m), .(k), "(Intercept)")))
    )
    statistic(
      paste0("icc/", g, "/same"), SHARED / TOTAL,
      paste("Correlation of two units in the same unit:", g), "proportion",
      bind = list(SHARED = bquote((.(shared))), TOTAL = total_call(m, blocks)), model = null
    )
  }
  list()
}

# Bootstrap intervals of the ICCs of the null model.
icc_by_bootstrap <- function(null, blocks, level, samples, seed) {
  refits <- bootstrapped(null, samples, seed)
  b <- list(M = as.name(null), REFITS = as.name(refits), TAIL = (1 - level) / 2)
  if (have(refits)) object("icc_samples", bootstrap_icc(M, REFITS), bind = b)
  said <- interval_method("bootstrap", level, samples, null)
  for (g in blocks) {
    b$B <- g
    for (side in c("lower", "upper")) {
      b$SIDE <- side
      at <- paste("icc", g, "bootstrap", side, sep = "/")
      label <- paste("Bootstrap limit of the ICC,", side)
      if (have("icc_samples")) {
        statistic(
          at, percentile_limit(icc_samples[, B], TAIL, SIDE), label, "proportion",
          bind = b, model = null, method = said
        )
      } else {
        absent(at, why("icc_samples", why(refits, "the bootstrap could not be made")), label)
      }
    }
  }
  list()
}

# The call of the exact test of a null model's one variance.
exact_call <- quote(exact_grouping_test(if (isREML(M)) M else update(M, REML = TRUE), 10000, SEED))

# Exact restricted likelihood-ratio test of the group variance of a null model of one grouping.
icc_exact_test <- function(null, group, most, seed) {
  reason <- if (!suppressMessages(requireNamespace("RLRsim", quietly = TRUE))) {
    "the R package RLRsim is not installed"
  } else if (nlevels(analysis$d[[group]]) > most) {
    "the exact test is not made for so many groups"
  }
  if (is.null(reason)) {
    b <- list(M = as.name(null), SEED = seed)
    object("icc_exact", CALL, bind = list(CALL = resolve(exact_call, b)))
    if (!have("icc_exact")) reason <- why("icc_exact", "the test could not be made")
  }
  label <- "Exact restricted likelihood-ratio test of the group variance"
  if (is.null(reason)) {
    said <- "exact restricted likelihood-ratio test, 10,000 simulated values; p = (b + 1) / (B + 1)"
    statistic(
      "icc/exact/statistic", icc_exact$statistic, label, "statistic", method = said,
      model = null
    )
    statistic(
      "icc/exact/p", icc_exact$p.value, paste0(label, ": p"), "p", method = said, model = null
    )
  } else {
    for (what in c("statistic", "p")) absent(paste0("icc/exact/", what), reason, label)
  }
  list()
}

# The ICC along the predictor of a random slope of the final model.
icc_along <- function(model, group, effect, column, level) {
  at <- function(what) paste("icc/curve", group, effect, what, sep = "/")
  b <- list(M = as.name(model), G = group, E = effect, X = as.name(column), LEVEL = level)
  if (!have("theta_vcov")) object("theta_vcov", theta_covariance(M), bind = b)
  label <- paste("Share of the variance between groups along", column)
  if (is.numeric(analysis$d[[column]])) {
    series(
      at("x"), seq(min(d$X), max(d$X), length.out = 61), paste("Values of", column), bind = b
    )
    series(
      at("share"), vpc_along(M, G, E, seq(min(d$X), max(d$X), length.out = 61)), label, bind = b,
      model = model
    )
    along_band(at, label, model, b)
    places <- list(low = quote(min(d$X)), mean = quote(mean(d$X)), high = quote(max(d$X)))
    places <- lapply(places, resolve, bind = b["X"])
  } else {
    places <- list(low = 0, high = 1)
  }
  said <- "z' Sigma z / (z' Sigma z + sigma2) of the final model, summed over groupings below"
  if (weighted()) said <- paste0(said, "; sigma2 / weight averaged over the rows")
  for (place in names(places)) {
    b$AT <- places[[place]]
    if (place != "low" || is.numeric(analysis$d[[column]])) {
      statistic(at(paste0(place, "_at")), AT, paste(column, place), "mean", bind = b)
    }
    statistic(
      at(place), vpc_along(M, G, E, AT), paste0(label, ": ", place), "proportion", bind = b,
      model = model, method = said
    )
    for (side in c("lower", "upper")) {
      along_limit(
        at(paste(place, side, sep = "_")), paste0(label, ": ", place, ", ", side, " limit"), side,
        model, b
      )
    }
  }
  list()
}

# Coefficients of the final model when the groups are ignored, held fixed, or only allowed for in
# the standard errors. `clusters` are the groupings of the robust errors: the highest, or those that
# cross.
icc_single_level <- function(id, group, clusters, terms, unit) {
  name <- paste0("m_", id)
  coefficients <- names(fixef(get(name, envir = analysis)))
  b <- list(M = as.name(name), G = as.name(group))
  kind <- pooled_errors(name, clusters, b)
  estimable <- within_terms(get(name, envir = analysis), analysis$d[[group]])
  if (length(estimable)) object("icc_within", within_group_fit(M, d$G), bind = b)
  for (term in terms) {
    b$TERM <- term
    b$K <- match(term, coefficients)
    single_level_term(b, term %in% estimable, kind, unit)
  }
  list(kind = kind)
}

# The fit without groups and its cluster-robust covariance; which that is.
pooled_errors <- function(name, clusters, b) {
  if (length(clusters) == 1L && pooled_on_rows(name, clusters)) {
    b <- list(P = as.name(compressed(name)), C = clusters)
    object("icc_pooled", pooled_rows(P), bind = b)
    object("icc_robust", robust_pooled(P, C), bind = b)
    if (have("icc_pooled", "icc_robust")) {
      return("CR2")
    }
  }
  object("icc_pooled", pooled_fit(M), bind = b)
  if (length(clusters) == 1L) {
    one_way_errors(clusters)
  } else if (length(clusters) == 2L) {
    b <- list(A = as.name(clusters[1L]), B = as.name(clusters[2L]))
    object("icc_robust", two_way_covariance(icc_pooled, d$A, d$B), bind = b)
    if (have("icc_robust")) "two-way" else "none"
  } else {
    "none"
  }
}

# Whether clubSandwich, whose matrices have the size of a cluster, takes long for a single regression,
# and compressed data give the same.
pooled_on_rows <- function(name, cluster) {
  grouping <- cluster %in% names(ngrps(get(name, envir = analysis)))
  !small_clusters(cluster) && grouping && !weighted() && nzchar(compressed(name))
}

# By nominal seconds, as for the CR2 errors of the model.
small_clusters <- function(cluster) {
  sizes <- as.numeric(table(analysis$d[[cluster]]))
  sum(2e-4 * sizes + 1e-8 * sizes^3) <= 20
}

one_way_errors <- function(cluster) {
  b <- list(C = as.name(cluster))
  if (small_clusters(cluster) && suppressMessages(requireNamespace("clubSandwich", quietly = TRUE))) {
    b$ROBUST <- quote(clubSandwich::vcovCR(icc_pooled, cluster = d$C, type = "CR2"))
    if (weighted()) b$ROBUST$target <- quote(1 / weights(icc_pooled))
    b$ROBUST <- resolve(b$ROBUST, b["C"])
    object("icc_robust", as.matrix(ROBUST), bind = b)
    if (have("icc_robust")) {
      return("CR2")
    }
  }
  object("icc_robust", cluster_covariance(icc_pooled, d$C), bind = b)
  if (have("icc_robust")) "CR1" else "none"
}

single_level_term <- function(b, estimable, kind, unit) {
  at <- function(what) paste("icc/single", b$TERM, what, sep = "/")
  ols <- "ordinary least squares"
  statistic(
    at("ols"), coef(icc_pooled)[[K]], paste("OLS estimate:", b$TERM), "estimate", unit, ols,
    "icc_pooled", b
  )
  statistic(
    at("ols_se"), sqrt(vcov(icc_pooled)[K, K]), paste("OLS SE:", b$TERM), "se", unit, ols,
    "icc_pooled", b
  )
  label <- paste("Cluster-robust SE:", b$TERM)
  if (kind == "none") {
    absent(
      at("robust_se"), "more than two groupings cross, so that there are no independent clusters",
      label
    )
  } else {
    statistic(
      at("robust_se"), root_of_variance(icc_robust[K, K]), label, "se", unit, paste(ols, "with", kind),
      "icc_pooled", b
    )
  }
  for (what in c("estimate", "se")) {
    b$WHAT <- what
    label <- paste("With fixed group effects,", what, b$TERM, sep = " ")
    if (estimable && have("icc_within")) {
      statistic(
        at(paste0("fixed_", what)), icc_within[TERM, WHAT], label, what, unit,
        "ordinary least squares with a dummy for each group", "icc_within", b
      )
    } else {
      absent(
        at(paste0("fixed_", what)), "fixed group effects leave nothing of it to estimate", label
      )
    }
  }
}

# Reliability of group means that stand among the predictors.
# `units` are the groupings whose units the means are taken over, empty for the rows themselves.
icc_of_predictors <- function(means, lower, groups, units, labels) {
  for (k in seq_along(means)) {
    b <- list(X = as.name(lower[k]), MEAN = as.name(means[k]), G = as.name(groups[k]))
    at <- paste0("icc/predictor/", means[k], "/reliability")
    label <- paste("Reliability of", labels[k])
    said <- "1 - MSW / MSB of the predictor"
    if (nzchar(units[k])) {
      b$U <- as.name(units[k])
      statistic(
        at,
        observed_mean_reliability(
          d$X[!duplicated(d$U)], d$MEAN[!duplicated(d$U)], d$G[!duplicated(d$U)]
        ),
        label, "proportion", bind = b, method = paste0(said, ", a value a unit of ", units[k])
      )
    } else {
      statistic(
        at, observed_mean_reliability(d$X, d$MEAN, d$G), label, "proportion", bind = b,
        method = said
      )
    }
  }
  list()
}

# What the design could detect, from its sizes and the ICC of the null model.
icc_power <- function(null, group, alpha) {
  if (weighted()) {
    reason <- "the formulas for the design are those of rows that count alike"
    absent("icc/power/within", reason, "Smallest detectable standardised effect, lowest level")
    absent("icc/power/between", reason, "Smallest detectable standardised effect, group level")
    return(list())
  }
  b <- list(M = as.name(null), B = group, G = as.name(group), ALPHA = alpha)
  b$ICC <- quote(component(M, B, "(Intercept)") / (component(M, B, "(Intercept)") + sigma(M)^2))
  b$ICC <- resolve(b$ICC, b[c("M", "B")])
  said <- sprintf("two-sided test at alpha = %g, power .80; per SD of the predictor", alpha)
  statistic(
    "icc/power/within",
    detectable(planned_se_within(ICC, nrow(d)), nrow(d) - nlevels(d$G) - 1, ALPHA),
    "Smallest detectable standardised effect, lowest level", "effect", bind = b, model = null,
    method = said
  )
  statistic(
    "icc/power/between",
    detectable(planned_se_between(ICC, group_sizes(d$G)), nlevels(d$G) - 2, ALPHA),
    "Smallest detectable standardised effect, group level", "effect", bind = b, model = null,
    method = said
  )
  list()
}

total_call <- function(m, blocks) {
  total <- variance_call(m)
  for (g in rev(unlist(blocks))) total <- bquote(component(.(m), .(g), "(Intercept)") + .(total))
  bquote((.(total)))
}

# Variance of the overall mean over that of as many independent rows: what each grouping adds to 1
# by itself, summed (for one grouping the usual design effect).
design_call <- function(m, blocks, total, sizes) {
  alone <- lapply(unlist(blocks), function(g) {
    resolve(
      quote(design_effect(component(M, B, "(Intercept)") / TOTAL, SIZES)),
      list(M = m, B = g, TOTAL = total, SIZES = resolve(sizes, list(G = as.name(g))))
    )
  })
  Reduce(function(x, y) bquote(.(x) + .(y) - 1), alone)
}

icc_of_group <- function(m, null, g, blocks, level, profile) {
  b <- list(M = m, B = g, TOTAL = total_call(m, blocks), LEVEL = level, REML = by_reml(null))
  id <- function(what) paste("icc", g, what, sep = "/")
  statistic(
    id("tau"), component(M, B, "(Intercept)"), paste("Variance between groups:", g), "variance",
    bind = b, model = null
  )
  statistic(
    id("icc"), component(M, B, "(Intercept)") / TOTAL, paste("Intraclass correlation:", g),
    "proportion", bind = b, model = null,
    method = "REML estimates of the null model unless fitted by ML"
  )
  if (!profile) {
    return(invisible())
  }
  name <- paste0("icc_ci_", make.names(g))
  problem <- compressed(null)
  if (nzchar(problem)) {
    b$P <- as.name(problem)
    object(name, icc_limits(P, B, LEVEL, reml = REML), bind = b)
  } else {
    object(name, icc_profile(M, B, LEVEL, reml = REML), bind = b)
  }
  method <- interval_method("profile", level, 0, null, likelihood_of(by_reml(null)), refits_by(null))
  b$CI <- as.name(name)
  if (have(name)) {
    statistic(
      id("lower"), CI[["lower"]], "Lower limit of the ICC", "proportion", bind = b, model = null,
      method = method
    )
    statistic(
      id("upper"), CI[["upper"]], "Upper limit of the ICC", "proportion", bind = b, model = null,
      method = method
    )
  } else {
    absent(id("lower"), why(name, "not computed"), "Lower limit of the ICC")
    absent(id("upper"), why(name, "not computed"), "Upper limit of the ICC")
  }
}
