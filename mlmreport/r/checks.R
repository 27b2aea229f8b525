# Step 3, continued: influence of groups, what remedies would change, random effects and predictors,
# distances of the random effects, repeated measures, transformations.

# --- influence --------------------------------------------------------------------------------

# Every group left out with the variance parameters held; the most influential ones refitted.
check_influence <- function(id, group, optimizer, refits) {
  name <- paste0("m_", id)
  m <- get(name, envir = analysis)
  b <- list(M = as.name(name), G = as.name(group), OPT = optimizer)
  said <- "variance parameters held at their estimates"
  at <- function(what) paste0("assumptions/influence/", what)
  object("without_group", fixed_without_groups(M, d$G), bind = b)
  if (have("without_group")) object("cook", group_cook(M, without_group), bind = b)
  whats <- c("cutoff", "above", "inestimable", "largest", "dfbetas", "dfbetas_cutoff")
  if (!have("cook") || all(is.na(analysis$cook))) {
    for (what in whats) {
      absent(at(what), why("without_group", "the model rests on every single group"), "Influence")
    }
    return(list(groups = character()))
  }
  series(at("cook"), cook[!is.na(cook)], "Cook's distance", model = name)
  series(at("names"), levels(d$G)[!is.na(cook)], "Groups", model = name, bind = b)
  statistic(
    at("cutoff"), 4 / nlevels(d$G), "Cut-off of Cook's distance", "distance", bind = b,
    method = "4 / number of groups (Nieuwenhuis, te Grotenhuis & Pelzer, 2012)", model = name
  )
  statistic(
    at("above"), sum(cook > 4 / nlevels(d$G), na.rm = TRUE), "Groups beyond the cut-off", "count",
    bind = b, model = name, method = said
  )
  statistic(
    at("inestimable"), sum(is.na(cook)), "Groups that a coefficient rests on alone", "count",
    model = name
  )
  statistic(
    at("largest"), max(cook, na.rm = TRUE), "Largest Cook's distance", "distance", model = name,
    method = said
  )
  statistic(
    at("dfbetas_cutoff"), 2 / sqrt(nlevels(d$G)), "Cut-off of DFBETAS", "ratio", bind = b,
    method = "2 / square root of the number of groups", model = name
  )
  statistic(
    at("dfbetas"),
    sum(apply(abs(group_dfbetas(M, without_group)) > 2 / sqrt(nlevels(d$G)), 1L, any), na.rm = TRUE),
    "Groups with a DFBETAS beyond the cut-off", "count", bind = b, model = name, method = said
  )
  units <- most_influential(analysis$cook, levels(analysis$d[[group]]))
  if (!refits) {
    return(list(groups = character()))
  }
  for (k in seq_along(units)) leave_out(k, units[k], name, m, b)
  list(groups = units)
}

leave_out <- function(k, unit, name, m, b) {
  refit <- paste0("without_", k)
  reason <- "the model cannot be estimated without this group"
  b$R <- as.name(refit)
  b$UNIT <- unit
  at <- function(...) paste("assumptions/without", k, ..., sep = "/")
  statistic(
    at("cook"), cook[levels(d$G) == UNIT], paste("Cook's distance of group", unit), "distance",
    bind = b, model = name
  )
  if (nlevels(analysis$d[[as.character(b$G)]]) < 3L) {
    reason <- "with this group left out only one would remain"
  } else if (b$OPT == "nloptwrap") {
    object(refit, update(
      M, data = d[d$G != UNIT, , drop = FALSE], start = getME(M, "theta"),
      control = lmerControl(calc.derivs = FALSE)
    ), bind = b)
  } else {
    object(refit, update(
      M, data = d[d$G != UNIT, , drop = FALSE], start = getME(M, "theta"),
      control = lmerControl(optimizer = OPT, calc.derivs = FALSE)
    ), bind = b)
  }
  lost <- !have(refit) || !setequal(names(fixef(analysis[[refit]])), names(fixef(m)))
  for (term in names(fixef(m))) {
    b$TERM <- term
    if (lost) {
      absent(at(term, "change"), reason, term)
    } else {
      statistic(
        at(term, "change"), change_in_se(M, R, TERM),
        paste0("Change of ", term, " without group ", unit, ", in SE"), "ratio", bind = b,
        model = name, method = "refit without the group"
      )
    }
  }
  variances_without(at, if (lost) reason else "", name, m, b)
}

# Relative changes of the variances in a refit, or why they cannot be had.
variances_without <- function(at, reason, name, m, b) {
  said <- "refit without the group"
  blocks <- VarCorr(m)
  for (block in names(blocks)) {
    for (effect in rownames(blocks[[block]])) {
      b$B <- block
      b$I <- effect
      change <- at("var", block, effect, "change")
      label <- paste0("Relative change of the variance of ", effect, " without group ", b$UNIT)
      if (nzchar(reason)) {
        absent(change, reason, label)
      } else if (blocks[[block]][effect, effect] <= 0) {
        absent(change, "the variance is estimated as zero with all groups", label)
      } else {
        statistic(
          change, relative_change(component(M, B, I), component(R, B, I)), label, "ratio",
          bind = b, model = name, method = said
        )
      }
    }
  }
  label <- paste0("Relative change of the residual variance without group ", b$UNIT)
  if (nzchar(reason)) {
    absent(at("sigma2/change"), reason, label)
  } else {
    statistic(
      at("sigma2/change"), relative_change(sigma(M)^2, sigma(R)^2), label, "ratio", bind = b,
      model = name, method = said
    )
  }
}

# The tests of a refit's fixed effects, by the method of the model's own.
refit_tests <- function(name, asymptotic, b) {
  if (asymptotic) {
    object(name, asymptotic_tests(R), bind = b)
  } else {
    object(name, satterthwaite(R), bind = b)
  }
}

# --- remedies ---------------------------------------------------------------------------------

# The fixed effects with other standard errors and without the most influential group. `cluster` is
# the grouping that all others lie in, or empty.
check_remedies <- function(id, cluster, samples, seed, asymptotic) {
  name <- paste0("m_", id)
  m <- get(name, envir = analysis)
  b <- list(M = as.name(name), N = samples, SEED = seed, R = as.name("without_1"))
  remedy_robust_errors(name, m, cluster, b)
  if (have("without_1") && setequal(names(fixef(analysis$without_1)), names(fixef(m)))) {
    refit_tests("coef_without_1", asymptotic, b)
  }
  if (samples > 0) {
    object("boot_fixed", {
      set.seed(SEED, "Mersenne-Twister", "Inversion", "Rejection")
      bootMer(M, fixef, nsim = N)$t
    }, bind = b)
  }
  for (term in names(fixef(m))) {
    b$TERM <- term
    at <- function(what) paste("assumptions/remedies", term, what, sep = "/")
    if (have("coef_without_1")) {
      statistic(
        at("estimate_without"), coef_without_1[TERM, "Estimate"],
        paste("Estimate without the most influential group:", term), "estimate", bind = b
      )
      statistic(
        at("p_without"), coef_without_1[TERM, "Pr(>|t|)"],
        paste("p without the most influential group:", term), "p", bind = b,
        method = test_of(if (asymptotic) "asymptotic" else "Satterthwaite")
      )
    } else {
      for (what in c("estimate_without", "p_without")) {
        absent(at(what), "the model cannot be estimated without this group", term)
      }
    }
    if (samples > 0) {
      statistic(
        at("se_boot"), sd(boot_fixed[, TERM], na.rm = TRUE), paste("Bootstrap SE:", term), "se",
        bind = b, method = sprintf("parametric bootstrap, %d samples", samples), model = name
      )
    }
  }
  list(robust = have("robust_tests"))
}

remedy_robust_errors <- function(name, m, cluster, b) {
  reason <- ""
  if (!nzchar(cluster)) {
    reason <- "the groupings are crossed, so no grouping holds all dependence"
  } else if (!nzchar(system.file(package = "clubSandwich"))) {
    reason <- "the R package clubSandwich is not installed"
  } else {
    b$G <- as.name(cluster)
    object("robust", clubSandwich::vcovCR(M, cluster = d$G, type = "CR2"), bind = b)
    if (have("robust")) {
      object(
        "robust_tests",
        as.data.frame(clubSandwich::coef_test(M, vcov = robust, test = "Satterthwaite")), bind = b
      )
    }
    if (!have("robust_tests")) reason <- "clubSandwich could not compute it for this model"
  }
  said <- "cluster-robust, CR2, Satterthwaite df (clubSandwich)"
  labels <- c(se = "CR2 standard error", df = "CR2 degrees of freedom", p = "CR2 p")
  columns <- c(se = "SE", df = "df_Satt", p = "p_Satt")
  for (term in names(fixef(m))) {
    b$ROW <- match(term, names(fixef(m)))
    for (what in names(columns)) {
      b$COLUMN <- columns[[what]]
      at <- paste0("assumptions/remedies/", term, "/", what, "_cr2")
      label <- paste0(labels[[what]], ": ", term)
      if (nzchar(reason)) {
        absent(at, reason, label)
      } else {
        statistic(
          at, robust_tests[[COLUMN]][ROW], label, what, method = said, bind = b, model = name
        )
      }
    }
  }
  if (nzchar(reason)) {
    absent("assumptions/remedies/ratio", reason, "Largest ratio of standard errors")
    absent("assumptions/remedies/least_ratio", reason, "Smallest ratio of standard errors")
  } else {
    statistic(
      "assumptions/remedies/ratio", max(robust_tests$SE / sqrt(diag(as.matrix(vcov(M))))),
      "Largest ratio of a CR2 to a model standard error", "ratio", bind = b, model = name
    )
    statistic(
      "assumptions/remedies/least_ratio", min(robust_tests$SE / sqrt(diag(as.matrix(vcov(M))))),
      "Smallest ratio of a CR2 to a model standard error", "ratio", bind = b, model = name
    )
  }
}

# --- random effects and predictors ------------------------------------------------------------

# The group means of level-1 columns added to the final model: each coefficient is the between-group
# less the within-group effect.
check_exogeneity <- function(id, group, formula, reml, terms, asymptotic) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), G = as.name(group), REML = reml, TERMS = terms)
  taken <- names(analysis$d)
  new <- utils::tail(
    make.unique(c(taken, paste0(make.names(terms), "_mean")), sep = "_"), length(terms)
  )
  b$NEW <- new
  f <- str2lang(formula)
  for (column in new) f[[3L]] <- call("+", f[[3L]], as.name(column))
  b$FORMULA <- f
  object("with_means", with_group_means(M, d, TERMS, NEW, d$G), bind = b)
  if (have("with_means")) {
    object("mundlak", lmer(FORMULA, data = with_means, REML = REML), bind = b)
  }
  if (have("mundlak")) refit_tests("mundlak_tests", asymptotic, list(R = as.name("mundlak")))
  columns <- c(
    estimate = "Estimate", se = "Std. Error", df = "df", t = "t value", p = "Pr(>|t|)"
  )
  types <- c(estimate = "estimate", se = "se", df = "df", t = "statistic", p = "p")
  said <- test_of(if (asymptotic) "asymptotic" else "Satterthwaite")
  for (k in seq_along(terms)) {
    b$ROW <- new[k]
    known <- have("mundlak_tests") && new[k] %in% rownames(analysis$mundlak_tests)
    for (what in names(columns)) {
      at <- paste("assumptions/exogeneity", terms[k], what, sep = "/")
      label <- paste0("Between-group less within-group effect of ", terms[k], ": ", what)
      b$COLUMN <- columns[[what]]
      if (known) {
        statistic(
          at, mundlak_tests[ROW, COLUMN], label, types[[what]], bind = b, model = name,
          method = paste0("group mean added to the model (Mundlak, 1978), ", said)
        )
      } else {
        absent(
          at, paste(
            "its group mean cannot be told apart from the predictors that are in the model already"
          ), label
        )
      }
    }
  }
  list()
}

# --- distances of the random effects ----------------------------------------------------------

check_distance <- function(id, group) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), G = group)
  object("distances", mode_distance(M, G), bind = b)
  at <- function(what) paste0("assumptions/distance/", what)
  if (!have("distances")) {
    for (what in c("largest", "df", "p", "holm", "beyond")) {
      absent(at(what), why("distances", "not computed"), "Distance of the random effects")
    }
    return(list(group = ""))
  }
  said <- "squared, standardised by the covariance of the conditional modes; chi-square"
  statistic(
    at("largest"), distances$distance[which.min(distances$p)],
    "Largest squared distance of a group's random effects", "statistic", bind = b, model = name,
    method = said
  )
  statistic(
    at("df"), distances$df[which.min(distances$p)], "Its degrees of freedom", "integer", bind = b,
    model = name
  )
  statistic(at("p"), min(distances$p), "Its p", "p", bind = b, model = name, method = said)
  statistic(
    at("holm"), min(p.adjust(distances$p, "holm")), "Its p among all groups", "p", bind = b,
    model = name, method = "Holm's correction over the groups"
  )
  list(group = analysis$distances$group[which.min(analysis$distances$p)])
}

# --- linearity by level -----------------------------------------------------------------------

# `within`: level-1 columns that vary at both levels, looked at as deviations from group means.
# `between`: columns whose group values are held against the conditional modes of the intercepts.
check_linearity <- function(id, group, within, between) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), GC = as.name(group), G = group)
  for (x in within) {
    b$X <- as.name(x)
    at <- function(what) paste("assumptions/within", x, what, sep = "/")
    series(at("x"), (d$X - ave(d$X, d$GC))[some_rows(nobs(M))], x, model = name, bind = b)
    series(at("residual"), residuals(M)[some_rows(nobs(M))], "Residuals", model = name, bind = b)
    object("smooth_level", lowess(d$X - ave(d$X, d$GC), residuals(M)), bind = b)
    smooth_series(at, x, name)
    statistic(
      at("departure"), smooth_departure(d$X - ave(d$X, d$GC), residuals(M)),
      paste("Largest departure of the smooth, within groups:", x), "ratio", bind = b, model = name
    )
  }
  for (x in between) {
    b$X <- as.name(x)
    at <- function(what) paste("assumptions/between", x, what, sep = "/")
    series(at("x"), raw_means(d$X, d$GC), x, model = name, bind = b)
    series(
      at("residual"), modes_of(M, G)[["(Intercept)"]], "Conditional modes of the intercepts",
      model = name, bind = b
    )
    object(
      "smooth_level", lowess(raw_means(d$X, d$GC), modes_of(M, G)[["(Intercept)"]]), bind = b
    )
    smooth_series(at, x, name)
    statistic(
      at("departure"), smooth_departure(raw_means(d$X, d$GC), modes_of(M, G)[["(Intercept)"]]),
      paste("Largest departure of the smooth, between groups:", x), "ratio", bind = b, model = name
    )
  }
  list()
}

smooth_series <- function(at, x, name) {
  series(
    at("smooth_x"), smooth_level$x[some_rows(length(smooth_level$x), 100)], x, model = name
  )
  series(
    at("smooth_y"), smooth_level$y[some_rows(length(smooth_level$y), 100)], "Smooth", model = name
  )
}

# --- repeated measures ------------------------------------------------------------------------

check_autocorrelation <- function(id, group, time) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), G = as.name(group), TIME = as.name(time))
  at <- function(what) paste0("assumptions/autocorrelation/", what)
  statistic(
    at("lag1"), lag_one(residuals(M), d$G, d$TIME), "Autocorrelation of the residuals at lag 1",
    "correlation", bind = b, model = name, method = "Pinheiro & Bates (2000), section 5.3"
  )
  statistic(
    at("expected"), expected_lag_one(M, d$G, d$TIME),
    "Autocorrelation at lag 1 expected of the residuals under independent errors", "correlation",
    bind = b, model = name
  )
  statistic(
    at("pairs"), length(successive_rows(d$G, d$TIME)$first), "Pairs of successive measurements",
    "count", bind = b
  )
  statistic(
    at("excess"), lag_one(residuals(M), d$G, d$TIME) - expected_lag_one(M, d$G, d$TIME),
    "Autocorrelation beyond what independent errors lead to expect", "correlation", bind = b,
    model = name
  )
  statistic(
    at("z"),
    (lag_one(residuals(M), d$G, d$TIME) - expected_lag_one(M, d$G, d$TIME)) *
      sqrt(length(successive_rows(d$G, d$TIME)$first)),
    "Excess autocorrelation over 1 / square root of the number of pairs", "statistic", bind = b,
    model = name
  )
  list()
}

# --- transformation ---------------------------------------------------------------------------

# The same diagnostics of the final model with the outcome on another scale; `scales` are names,
# `outcomes` the outcome's R code on each.
check_transformation <- function(id, formula, reml, scales, outcomes) {
  for (k in seq_along(scales)) {
    f <- str2lang(formula)
    f[[2L]] <- str2lang(outcomes[k])
    refit <- paste0("scale_", scales[k])
    b <- list(FORMULA = f, REML = reml, R = as.name(refit))
    object(refit, lmer(FORMULA, data = d, REML = REML), bind = b)
    scale_diagnostics(scales[k], refit, b)
  }
  b <- list(R = as.name(paste0("m_", id)))
  scale_diagnostics("model", paste0("m_", id), b)
  list()
}

scale_diagnostics <- function(scale, name, b) {
  at <- function(what) paste("assumptions/scale", scale, what, sep = "/")
  if (!have(name)) {
    for (what in c("skewness", "kurtosis", "outside", "spread")) {
      absent(at(what), "the model cannot be fitted to the outcome on this scale", scale)
    }
    return(invisible())
  }
  statistic(at("skewness"), skewness(residuals(R)), paste("Skewness,", scale), "shape", bind = b)
  statistic(
    at("kurtosis"), excess_kurtosis(residuals(R)), paste("Excess kurtosis,", scale), "shape",
    bind = b
  )
  statistic(
    at("outside"),
    mean(
      qq_sample(residuals(R)) < band_residuals$lower |
        qq_sample(residuals(R)) > band_residuals$upper
    ),
    paste("Share of the quantiles outside the band,", scale), "share", bind = b
  )
  statistic(
    at("spread"), cor(fitted(R), abs(residuals(R)), method = "spearman"),
    paste("Rank correlation of fitted values and absolute residuals,", scale), "correlation",
    bind = b
  )
}
