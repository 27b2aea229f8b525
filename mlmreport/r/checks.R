# Step 3, continued: influence of groups, what remedies would change, random effects and predictors,
# distances of the random effects, repeated measures, transformations.

# --- influence --------------------------------------------------------------------------------

# Every group left out, by exact refits on compressed data where `exact`, else with the variance
# parameters held and the most influential ones refitted by lme4 where `refits` says so. `key` is the
# name of this grouping's results: empty for the lowest grouping.
check_influence <- function(id, group, key, optimizer, refits, exact) {
  name <- paste0("m_", id)
  model_as_m(name)
  objects <- function(what) make.names(paste0(what, if (nzchar(key)) paste0("_", key)))
  prefix <- function(what) paste0("assumptions/", what, "/", if (nzchar(key)) paste0(key, "/"))
  b <- list(M = as.name(name), G = as.name(group), OPT = optimizer)
  found <- if (exact) exact_influence(name, group, objects) else held_influence(b, objects)
  b <- c(b, found$parts)
  influence_numbers(paste0(prefix("influence")), found, name, b)
  if (!found$have || !refits) {
    return(list(groups = character()))
  }
  units <- most_influential(found$cook, levels(analysis$d[[group]]))
  for (k in seq_along(units)) {
    place <- paste0(prefix("without"), k)
    b$R <- as.name(paste0(objects("without"), "_", k))
    if (exact) {
      if (k == 1L) refit_without(units[k], b)
      left_out_numbers(place, units[k], name, m, b)
    } else {
      leave_out(place, units[k], name, m, b)
    }
  }
  moved <- if (exact) most_moved(prefix("influence"), name, m, b)
  c(list(groups = units), moved)
}

# The objects that a grouping's influence is read from: how Cook's distances and DFBETAS stand in a
# call (`parts`), how they were made, and whether they are there.
exact_influence <- function(name, group, objects) {
  left <- objects("left_out")
  influence <- objects("influence")
  b <- list(P = as.name(compressed(name)), L = as.name(left), GROUP = group)
  object(left, leave_out_groups(P, by = GROUP), bind = b)
  if (have(left)) object(influence, group_influence(P, L), bind = b)
  i <- as.name(influence)
  list(
    parts = list(COOK = bquote(.(i)$cook), DFBETAS = bquote(.(i)$dfbetas), I = i),
    cook = if (have(influence)) analysis[[influence]]$cook, have = have(influence),
    said = "refit without each group, on compressed data",
    reason = why(left, why(influence, "not computed"))
  )
}
held_influence <- function(b, objects) {
  without <- objects("without_group")
  cook <- objects("cook")
  b$WITHOUT <- as.name(without)
  object(without, fixed_without_groups(M, d$G), bind = b)
  if (have(without)) object(cook, group_cook(M, WITHOUT), bind = b)
  have <- have(cook) && !all(is.na(analysis[[cook]]))
  list(
    parts = list(COOK = as.name(cook), DFBETAS = bquote(group_dfbetas(.(b$M), .(b$WITHOUT)))),
    cook = if (have) analysis[[cook]], have = have,
    said = "variance parameters held at their estimates",
    reason = why(without, "the model rests on every single group")
  )
}

# Cook's distances and DFBETAS of all groups; `found` as of `exact_influence`.
influence_numbers <- function(prefix, found, name, b) {
  at <- function(what) paste0(prefix, what)
  whats <- c("cutoff", "above", "inestimable", "largest", "dfbetas", "dfbetas_cutoff")
  if (!found$have) {
    for (what in whats) absent(at(what), found$reason, "Influence")
    return(invisible())
  }
  series(at("cook"), COOK[!is.na(COOK)], "Cook's distance", model = name, bind = b)
  series(at("names"), levels(d$G)[!is.na(COOK)], "Groups", model = name, bind = b)
  statistic(
    at("cutoff"), 4 / nlevels(d$G), "Cut-off of Cook's distance", "distance", bind = b,
    method = "4 / number of groups (Nieuwenhuis, te Grotenhuis & Pelzer, 2012)", model = name
  )
  statistic(
    at("above"), sum(COOK > 4 / nlevels(d$G), na.rm = TRUE), "Groups beyond the cut-off", "count",
    bind = b, model = name, method = found$said
  )
  statistic(
    at("inestimable"), sum(is.na(COOK)), "Groups that a coefficient rests on alone", "count",
    model = name, bind = b
  )
  statistic(
    at("largest"), max(COOK, na.rm = TRUE), "Largest Cook's distance", "distance", model = name,
    method = found$said, bind = b
  )
  statistic(
    at("dfbetas_cutoff"), 2 / sqrt(nlevels(d$G)), "Cut-off of DFBETAS", "ratio", bind = b,
    method = "2 / square root of the number of groups", model = name
  )
  statistic(
    at("dfbetas"), sum(apply(abs(DFBETAS) > 2 / sqrt(nlevels(d$G)), 1L, any), na.rm = TRUE),
    "Groups with a DFBETAS beyond the cut-off", "count", bind = b, model = name, method = found$said
  )
}

# Of exact deletions the largest change of each coefficient and of each variance over all groups, and
# the groups without which it comes about.
most_moved <- function(prefix, name, m, b) {
  found <- analysis[[as.character(b$I)]]
  groups <- levels(analysis$d[[as.character(b$G)]])
  farthest <- function(v) c(groups[which.max(abs(v))], "")[1L]
  for (term in names(fixef(m))) {
    b$TERM <- term
    statistic(
      paste0(prefix, term, "/change"), -largest_of(DFBETAS[, TERM]),
      paste0("Largest change of ", term, " without a group, in SE"), "ratio", bind = b, model = name,
      method = "refit without each group"
    )
  }
  names_ <- variance_columns(m)
  for (k in seq_along(names_)) {
    b$COLUMN <- names_[[k]]
    statistic(
      paste0(prefix, names(names_)[k], "/change"), largest_of(I$change[, COLUMN]),
      paste("Largest relative change of a variance without a group:", names_[[k]]), "ratio", bind = b,
      model = name, method = "refit without each group",
      otherwise = "the variance is estimated as zero with all groups"
    )
  }
  list(
    moved_by = apply(found$dfbetas, 2L, farthest),
    variance_by = apply(found$change[, names_, drop = FALSE], 2L, farthest)
  )
}

# What the variances of a model are called in results, and in a refit on compressed data.
variance_columns <- function(m) {
  groups <- setNames(block_groups(m), names(VarCorr(m)))
  found <- lapply(names(groups), function(block) {
    effects <- rownames(VarCorr(m)[[block]])
    setNames(paste0("sd_", effects, "|", groups[[block]]), paste("var", block, effects, sep = "/"))
  })
  c(unlist(found), sigma2 = "sigma")
}

# The numbers of one group of the exact deletions; they stand under `place`.
left_out_numbers <- function(place, unit, name, m, b) {
  b$UNIT <- unit
  at <- function(...) paste(place, ..., sep = "/")
  statistic(
    at("cook"), COOK[levels(d$G) == UNIT], paste("Cook's distance of group", unit), "distance",
    bind = b, model = name
  )
  said <- "refit without the group, on compressed data"
  for (term in names(fixef(m))) {
    b$TERM <- term
    statistic(
      at(term, "change"), -DFBETAS[UNIT, TERM],
      paste0("Change of ", term, " without group ", unit, ", in SE"), "ratio", bind = b,
      model = name, method = said
    )
  }
  names_ <- variance_columns(m)
  for (k in seq_along(names_)) {
    b$COLUMN <- names_[[k]]
    statistic(
      at(names(names_)[k], "change"), I$change[UNIT, COLUMN],
      paste0("Relative change of a variance without group ", unit, ": ", names_[[k]]), "ratio",
      bind = b, model = name, method = said,
      otherwise = "the variance is estimated as zero with all groups"
    )
  }
}

# The model `b$R`, fitted without a group: where theta was found on compressed data, again so.
refit_without <- function(unit, b) {
  b$UNIT <- unit
  call <- call_found_ahead(as.character(b$M))
  if (!is.null(call)) {
    call$data <- resolve(quote(d[d$G != UNIT, , drop = FALSE]), b)
    return(model_object(as.character(b$R), call, failing = "warning"))
  }
  control <- if (b$OPT == "nloptwrap") {
    quote(lmerControl(calc.derivs = FALSE))
  } else {
    bquote(lmerControl(optimizer = .(b$OPT), calc.derivs = FALSE))
  }
  b$CALL <- resolve(quote(update(
    M, data = d[d$G != UNIT, , drop = FALSE], start = getME(M, "theta"), control = CONTROL
  )), c(b, list(CONTROL = control)))
  object(as.character(b$R), CALL, bind = b, failing = "warning")
}

# What changes in a refit `b$R` without one group; its numbers stand under `place`.
leave_out <- function(place, unit, name, m, b) {
  refit <- as.character(b$R)
  reason <- "the model cannot be estimated without this group"
  b$UNIT <- unit
  at <- function(...) paste(place, ..., sep = "/")
  statistic(
    at("cook"), COOK[levels(d$G) == UNIT], paste("Cook's distance of group", unit), "distance",
    bind = b, model = name
  )
  if (nlevels(analysis$d[[as.character(b$G)]]) < 3L) {
    reason <- "with this group left out only one would remain"
  } else {
    refit_without(unit, b)
  }
  lost <- !have(refit) || !setequal(names(fixef(analysis[[refit]])), names(fixef(m)))
  for (term in names(fixef(m))) {
    b$TERM <- term
    if (lost) {
      absent(at(term, "change"), reason, term)
    } else {
      statistic(
        at(term, "change"), change_in_se(fixed_part(M), fixed_part(R), TERM),
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

# --- remedies ---------------------------------------------------------------------------------

# The fixed effects with other standard errors, without the most influential group of each grouping,
# and with the outcome on another scale. `cluster` is the grouping that all others lie in, or empty;
# `own` is whether CR2 errors come from compressed data and not from clubSandwich, `too_long` why there are
# none, or empty; `keys` name the groupings as in `check_influence`;
# `scale` is that of a refit, or empty.
check_remedies <- function(id, cluster, own, too_long, keys, scale, samples, clusters, seed) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(M = as.name(name))
  remedy_robust_errors(name, cluster, own, no_robust_errors(cluster, own, too_long), b)
  for (key in keys) remedy_without(key, names(fixef(m)))
  if (nzchar(scale)) remedy_scale(scale, names(fixef(m)))
  if (samples > 0) {
    said <- sprintf("parametric bootstrap, %d samples, %s", samples, refits_by(name))
    bootstrap_errors("se_boot", bootstrapped(name, samples, seed), said, name)
  }
  if (clusters > 0) {
    drawn <- paste0("clusters_", id)
    object(
      drawn, cluster_bootstrap(P, replicates = SAMPLES, seed = SEED, by = CLUSTER),
      bind = list(P = as.name(compressed(name)), SAMPLES = clusters, SEED = seed, CLUSTER = cluster)
    )
    said <- sprintf("groups drawn with replacement, %d samples (Field & Welsh, 2007)", clusters)
    bootstrap_errors("se_cluster", drawn, said, name)
  }
  list(robust = have("robust_tests"))
}

# Standard errors of the fixed effects from a bootstrap.
bootstrap_errors <- function(what, refits, said, name) {
  model_as_m(name)
  for (term in names(fixef(m))) {
    at <- paste("assumptions/remedies", term, what, sep = "/")
    label <- paste("Bootstrap SE:", term)
    if (have(refits)) {
      b <- list(REFITS = as.name(refits), TERM = term)
      statistic(at, bootstrap_se(REFITS, TERM), label, "se", method = said, model = name, bind = b)
    } else {
      absent(at, why(refits, "the bootstrap could not be made"), label)
    }
  }
}

# The model without the most influential group of a grouping.
remedy_without <- function(key, terms_) {
  of <- if (nzchar(key)) paste0("_", key) else ""
  refit <- make.names(paste0("without", of, "_1"))
  tests <- make.names(paste0("coef_without", of, "_1"))
  if (have(refit) && setequal(names(fixef(analysis[[refit]])), terms_)) {
    object(tests, satterthwaite(R), bind = list(R = as.name(refit)))
  }
  b <- list(TESTS = as.name(tests))
  for (term in terms_) {
    b$TERM <- term
    at <- function(what) paste0("assumptions/remedies/", term, "/", what, of)
    if (have(tests)) {
      statistic(
        at("estimate_without"), TESTS[TERM, "Estimate"],
        paste("Estimate without the most influential group:", term), "estimate", bind = b
      )
      statistic(
        at("p_without"), TESTS[TERM, "Pr(>|t|)"],
        paste("p without the most influential group:", term), "p", bind = b,
        method = "t test, Satterthwaite df"
      )
    } else {
      for (what in c("estimate_without", "p_without")) {
        absent(at(what), "the model cannot be estimated without this group", term)
      }
    }
  }
}

# The tests with the outcome on another scale, whose refit `check_transformation` made.
remedy_scale <- function(scale, terms_) {
  refit <- paste0("scale_", scale)
  if (have(refit)) object("coef_scale", satterthwaite(R), bind = list(R = as.name(refit)))
  for (term in terms_) {
    for (what in c("t", "p")) {
      b <- list(TERM = term, COLUMN = if (what == "t") "t value" else "Pr(>|t|)")
      at <- paste0("assumptions/remedies/", term, "/", what, "_scale")
      label <- paste0(what, " with the outcome on another scale: ", term)
      if (have("coef_scale")) {
        statistic(
          at, coef_scale[TERM, COLUMN], label, if (what == "t") "statistic" else "p", bind = b,
          method = paste0("t test, Satterthwaite df; outcome: ", scale)
        )
      } else {
        absent(at, "the model cannot be fitted to the outcome on this scale", label)
      }
    }
  }
}

# Why there are no CR2 errors; empty where they can be computed.
no_robust_errors <- function(cluster, own, too_long) {
  if (!nzchar(cluster)) {
    "the groupings are crossed, so no grouping holds all dependence"
  } else if (nzchar(too_long)) {
    too_long
  } else if (weighted()) {
    "the R package clubSandwich takes no multilevel model with prior weights"
  } else if (!own && !nzchar(system.file(package = "clubSandwich"))) {
    "the R package clubSandwich is not installed"
  } else {
    ""
  }
}

# The tests by CR2 errors as the object `robust_tests`; why they are not there.
robust_tests_by <- function(name, cluster, own, b) {
  b$G <- if (own) cluster else as.name(cluster)
  if (own) {
    b$P <- as.name(compressed(name))
    object("robust_tests", robust_tests_of(M, P, G), bind = b)
    return(if (!have("robust_tests")) "R could not compute them for this model" else "")
  }
  object("robust", clubSandwich::vcovCR(M, cluster = d$G, type = "CR2"), bind = b)
  if (have("robust")) {
    object(
      "robust_tests",
      as.data.frame(clubSandwich::coef_test(M, vcov = robust, test = "Satterthwaite")), bind = b
    )
  }
  if (!have("robust_tests")) "clubSandwich could not compute it for this model" else ""
}

remedy_robust_errors <- function(name, cluster, own, reason, b) {
  model_as_m(name)
  if (!nzchar(reason)) reason <- robust_tests_by(name, cluster, own, b)
  said <- paste0("cluster-robust, CR2, Satterthwaite df (", if (own) "on compressed data" else "clubSandwich", ")")
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

# The group means of columns added to the final model: each coefficient is the between-group less the
# within-group effect. `groups` is the grouping of each mean and `keys` the name of its results.
# `means` and `within` are pairs of coefficients that the model has already, whose difference joins
# the joint test (an empty `within` where the mean's own coefficient is the difference).
check_exogeneity <- function(id, formula, reml, terms, groups, keys, means, within) {
  name <- paste0("m_", id)
  b <- list(M = as.name(name), REML = reml, TERMS = terms, GROUPS = groups)
  taken <- names(analysis$d)
  new <- if (length(terms)) {
    utils::tail(make.unique(c(taken, paste0(make.names(keys), "_mean")), sep = "_"), length(terms))
  }
  b$NEW <- new
  f <- str2lang(formula)
  for (column in new) f[[3L]] <- call("+", f[[3L]], as.name(column))
  b$FORMULA <- f
  complaint <- ""
  if (length(terms)) {
    object("with_means", with_group_means(M, d, TERMS, NEW, GROUPS), bind = b)
    if (have("with_means")) complaint <- side_fit("mundlak", name, f, reml, quote(with_means))
  } else {
    object("mundlak", M, bind = b)
  }
  if (have("mundlak")) object("mundlak_tests", satterthwaite(mundlak), bind = b)
  columns <- c(
    estimate = "Estimate", se = "Std. Error", df = "df", t = "t value", p = "Pr(>|t|)"
  )
  types <- c(estimate = "estimate", se = "se", df = "df", t = "statistic", p = "p")
  for (k in seq_along(terms)) {
    b$ROW <- new[k]
    known <- have("mundlak_tests") && new[k] %in% rownames(analysis$mundlak_tests)
    for (what in names(columns)) {
      at <- paste("assumptions/exogeneity", keys[k], what, sep = "/")
      label <- paste0("Between-group less within-group effect of ", terms[k], ": ", what)
      b$COLUMN <- columns[[what]]
      if (known) {
        statistic(
          at, mundlak_tests[ROW, COLUMN], label, types[[what]], bind = b, model = name,
          method = "group mean added to the model (Mundlak, 1978), t test with Satterthwaite df"
        )
      } else {
        absent(
          at, paste(
            "its group mean cannot be told apart from the predictors that are in the model already"
          ), label
        )
      }
    }
    exogeneity_change(terms[k], keys[k], name, known)
  }
  exogeneity_joint(new, means, within, name)
  list(complaint = complaint)
}

# What the coefficient itself becomes with the group means in the model.
exogeneity_change <- function(term, key, name, known) {
  at <- paste("assumptions/exogeneity", key, "change", sep = "/")
  label <- paste0("Change of ", term, " with the group means in the model, in SE")
  if (known && term %in% names(fixef(analysis$mundlak))) {
    statistic(
      at, change_in_se(fixed_part(M), fixed_part(mundlak), TERM), label, "ratio",
      bind = list(M = as.name(name), TERM = term), model = name, method = "refit with the means"
    )
  } else {
    absent(at, "its group mean cannot be told apart from the other predictors", label)
  }
}

# All differences of between-group and within-group effects tested together.
exogeneity_joint <- function(new, means, within, name) {
  found <- if (have("mundlak")) names(fixef(analysis$mundlak)) else character()
  kept <- means %in% found & (!nzchar(within) | within %in% found)
  first <- c(intersect(new, found), means[kept])
  b <- list(FIRST = first, SECOND = c(rep("", length(intersect(new, found))), within[kept]))
  if (length(first) > 1L) {
    object("mundlak_joint", joint_f(mundlak, differences(mundlak, FIRST, SECOND)), bind = b)
  }
  columns <- c(F = "F value", numerator = "NumDF", df = "DenDF", p = "Pr(>F)")
  types <- c(F = "statistic", numerator = "integer", df = "df", p = "p")
  for (what in names(columns)) {
    at <- paste("assumptions/mundlak", what, sep = "/")
    label <- paste("Between-group less within-group effects, joint test:", what)
    if (length(first) > 1L && have("mundlak_joint")) {
      statistic(
        at, mundlak_joint[[COLUMN]], label, types[[what]], bind = list(COLUMN = columns[[what]]),
        model = name, method = "joint F test with Satterthwaite df"
      )
    } else {
      absent(at, "there are not two differences to test together", label)
    }
  }
}

# --- distances of the random effects ----------------------------------------------------------

# `key` as in `check_influence`.
check_distance <- function(id, group, key) {
  name <- paste0("m_", id)
  of <- if (nzchar(key)) paste0("_", key) else ""
  b <- list(M = as.name(name), G = group)
  object("distances", mode_distance(M, G), bind = b)
  at <- function(what) paste0("assumptions/distance/", if (nzchar(key)) paste0(key, "/"), what)
  if (!have("distances")) {
    for (what in c("largest", "df", "p", "holm", "moves")) {
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
  unit <- analysis$distances$group[which.min(analysis$distances$p)]
  label <- "Largest change of a coefficient without this group, in SE"
  exact <- make.names(paste0("influence", of))
  held <- make.names(paste0("without_group", of))
  b$DFBETAS <- if (have(exact)) {
    bquote(.(as.name(exact))$dfbetas)
  } else if (have(held)) {
    bquote(group_dfbetas(.(b$M), .(as.name(held))))
  }
  b$UNIT <- unit
  if (is.null(b$DFBETAS)) {
    reason <- why(held, "the model cannot be estimated without this group")
    absent(at("moves"), reason, label)
  } else {
    statistic(
      at("moves"), max(abs(DFBETAS[UNIT, ])), label, "ratio", bind = b, model = name,
      method = if (have(exact)) {
        "refit without the group, on compressed data"
      } else {
        "variance parameters held at their estimates"
      },
      otherwise = "the model cannot be estimated without this group"
    )
  }
  list(group = unit)
}

# --- linearity by level -----------------------------------------------------------------------

# `within`: level-1 columns that vary at both levels, looked at as deviations from group means.
# `between`: columns whose group values are held against the effects of the groups of `groupings`, of
# which each column has its own.
check_linearity <- function(id, group, within, between, groupings) {
  name <- paste0("m_", id)
  b <- list(
    M = as.name(name), GC = as.name(group), G = group, RES = residual_call(as.name(name))
  )
  for (x in within) {
    b$X <- as.name(x)
    place <- paste0("assumptions/within/", x)
    at <- function(what) paste(place, what, sep = "/")
    series(at("x"), (d$X - ave(d$X, d$GC))[some_rows(nobs(M))], x, model = name, bind = b)
    series(at("residual"), RES[some_rows(nobs(M))], "Residuals", model = name, bind = b)
    smooth_series(place, quote(smooth_points(d$X - ave(d$X, d$GC), RES)), x, name, b)
    statistic(
      at("departure"), smooth_departure(d$X - ave(d$X, d$GC), RES),
      paste("Largest departure of the smooth, within groups:", x), "ratio", bind = b, model = name
    )
  }
  for (k in seq_along(between)) {
    x <- between[k]
    b$X <- as.name(x)
    b$G <- groupings[k]
    b$GC <- as.name(groupings[k])
    place <- paste0("assumptions/between/", x)
    at <- function(what) paste(place, what, sep = "/")
    series(at("x"), raw_means(d$X, d$GC), x, model = name, bind = b)
    series(
      at("residual"), effects_less_line(M, G, d$X), "Effects of the groups less their line",
      model = name, bind = b
    )
    smooth_series(
      place, quote(smooth_points(raw_means(d$X, d$GC), effects_less_line(M, G, d$X))), x, name, b
    )
    statistic(
      at("departure"), smooth_departure(raw_means(d$X, d$GC), effects_less_line(M, G, d$X)),
      paste("Largest departure of the smooth, between groups:", x), "ratio", bind = b, model = name
    )
  }
  list()
}

# What squares of the predictors with a bend in their smooths would change. `kinds` is where the bend
# was seen: "linearity" for rows, "within", "between".
check_curves <- function(id, group, formula, reml, columns, kinds) {
  name <- paste0("m_", id)
  taken <- names(analysis$d)
  new <- utils::tail(
    make.unique(c(taken, paste0(make.names(columns), "_squared")), sep = "_"), length(columns)
  )
  f <- str2lang(formula)
  for (column in new) f[[3L]] <- call("+", f[[3L]], as.name(column))
  b <- list(
    M = as.name(name), G = as.name(group), REML = reml, COLUMNS = columns,
    KINDS = sub("linearity", "", kinds, fixed = TRUE), NEW = new
  )
  object("with_squared", with_squares(d, COLUMNS, KINDS, NEW, d$G), bind = b)
  complaint <- ""
  if (have("with_squared")) complaint <- side_fit("curved", name, f, reml, quote(with_squared))
  if (have("curved")) object("curved_tests", satterthwaite(curved), bind = b)
  for (k in seq_along(columns)) {
    curve_test(paste("assumptions/curve", kinds[k], columns[k], sep = "/"), columns[k], new[k], b)
  }
  label <- "Largest change of a coefficient with the squares in the model, in SE"
  whole <- have("curved") &&
    all(names(fixef(get(name, envir = analysis))) %in% names(fixef(analysis$curved)))
  if (whole) {
    statistic(
      "assumptions/curve/change", largest_change(fixed_part(M), fixed_part(curved)), label, "ratio",
      bind = b, model = name
    )
  } else {
    absent("assumptions/curve/change", "the model with the squares cannot be fitted", label)
  }
  list(complaint = complaint)
}

# The t test of one square in the refit, under `place`.
curve_test <- function(place, column, row, b) {
  b$ROW <- row
  known <- have("curved_tests") && row %in% rownames(analysis$curved_tests)
  whats <- c(estimate = "Estimate", df = "df", t = "t value", p = "Pr(>|t|)")
  types <- c(estimate = "estimate", df = "df", t = "statistic", p = "p")
  for (what in names(whats)) {
    b$COLUMN <- whats[[what]]
    at <- paste(place, what, sep = "/")
    label <- paste0("Square of ", column, ": ", what)
    if (known) {
      statistic(
        at, curved_tests[ROW, COLUMN], label, types[[what]], bind = b,
        model = as.character(b$M), method = "square added to the model, t test, Satterthwaite df"
      )
    } else {
      absent(
        at, "its square cannot be told apart from the predictors that are in the model already",
        label
      )
    }
  }
}

# --- repeated measures ------------------------------------------------------------------------

check_autocorrelation <- function(id, group, time) {
  name <- paste0("m_", id)
  b <- list(
    M = as.name(name), G = as.name(group), TIME = as.name(time), RES = residual_call(as.name(name))
  )
  at <- function(what) paste0("assumptions/autocorrelation/", what)
  statistic(
    at("lag1"), lag_one(RES, d$G, d$TIME), "Autocorrelation of the residuals at lag 1",
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
    at("excess"), lag_one(RES, d$G, d$TIME) - expected_lag_one(M, d$G, d$TIME),
    "Autocorrelation beyond what independent errors lead to expect", "correlation", bind = b,
    model = name
  )
  statistic(
    at("z"),
    (lag_one(RES, d$G, d$TIME) - expected_lag_one(M, d$G, d$TIME)) *
      sqrt(length(successive_rows(d$G, d$TIME)$first)),
    "Excess autocorrelation over 1 / square root of the number of pairs", "statistic", bind = b,
    model = name
  )
  object("by_distance", autocorrelation_by_distance(M, d$G, d$TIME), bind = b)
  rows <- if (have("by_distance")) seq_len(nrow(analysis$by_distance)) else integer()
  types <- c(
    from = "mean", to = "mean", pairs = "count", correlation = "correlation",
    expected = "correlation"
  )
  for (k in rows) {
    for (what in names(types)) {
      b$K <- k
      b$WHAT <- what
      statistic(
        at(paste("distance", k, what, sep = "/")), by_distance[K, WHAT],
        paste0("Autocorrelation by distance in time, ", k, ": ", what), types[[what]], bind = b,
        model = name, method = "mean product of residuals over their mean square"
      )
    }
  }
  list(bins = length(rows))
}

# The model with autoregressive errors beside the one without.
check_correlated_errors <- function(id, group, time) {
  name <- paste0("m_", id)
  m <- get(name, envir = analysis)
  b <- list(M = as.name(name), G = as.name(group), TIME = as.name(time))
  object("with_ar", correlated_errors(M, d$G, d$TIME), bind = b)
  at <- function(...) paste("assumptions/autocorrelation/ar", ..., sep = "/")
  said <- "nlme::lme, continuous-time autoregressive errors"
  whats <- c(
    phi = "Correlation of errors one unit of time apart",
    chisq = "Likelihood ratio of autoregressive against independent errors",
    p = "p of autoregressive errors",
    change = "Largest change of a coefficient with correlated errors, in SE",
    ratio = "Largest ratio of its standard errors to those of the model",
    least_ratio = "Smallest ratio of its standard errors to those of the model"
  )
  if (!have("with_ar")) {
    for (what in names(whats)) absent(at(what), why("with_ar", "not computed"), whats[[what]])
    return(list())
  }
  statistic(at("phi"), with_ar$phi, whats[["phi"]], "correlation", bind = b, method = said)
  statistic(
    at("chisq"), max(0, 2 * (with_ar$loglik - as.numeric(logLik(M)))), whats[["chisq"]],
    "statistic", bind = b, method = said
  )
  statistic(
    at("p"), boundary_p(max(0, 2 * (with_ar$loglik - as.numeric(logLik(M)))), 1), whats[["p"]], "p",
    bind = b, method = "mixture of chi-squares with 0 and 1 df, as this correlation is not negative"
  )
  statistic(
    at("change"), max(abs(with_ar$estimate - fixef(M)) / sqrt(diag(as.matrix(vcov(M))))),
    whats[["change"]], "ratio", bind = b, method = said
  )
  statistic(
    at("ratio"), max(with_ar$se / sqrt(diag(as.matrix(vcov(M))))), whats[["ratio"]], "ratio",
    bind = b, method = said
  )
  statistic(
    at("least_ratio"), min(with_ar$se / sqrt(diag(as.matrix(vcov(M))))), whats[["least_ratio"]],
    "ratio", bind = b, method = said
  )
  random_with_ar(at, m, said)
  list()
}

# The SDs and correlations of the random effects in it, by the names that the model's have.
random_with_ar <- function(at, m, said) {
  none <- "the variance is estimated as zero"
  for (block in names(VarCorr(m))) {
    effects <- rownames(VarCorr(m)[[block]])
    b <- list(BLOCK = block)
    for (i in seq_along(effects)) {
      b$I <- effects[i]
      statistic(
        at("var", block, effects[i], "sd"), sqrt(with_ar$covariances[[BLOCK]][I, I]),
        paste("SD with correlated errors:", effects[i]), "sd", bind = b, method = said
      )
      for (other in effects[seq_len(i - 1L)]) {
        b$J <- other
        statistic(
          at("var", block, effects[i], "cor", other),
          cov2cor(with_ar$covariances[[BLOCK]])[I, J],
          paste("Correlation with correlated errors:", effects[i], "and", other), "correlation",
          bind = b, method = said, otherwise = none
        )
      }
    }
  }
  statistic(
    at("sigma"), with_ar$sigma, "Residual SD with correlated errors", "sd", method = said
  )
}

# --- transformation ---------------------------------------------------------------------------

# The same diagnostics of the final model with the outcome on another scale; `scales` are names,
# `outcomes` the outcome's R code on each.
# `own` is the model's scale.
check_transformation <- function(id, formula, reml, scales, outcomes, own) {
  for (k in seq_along(scales)) {
    f <- str2lang(formula)
    f[[2L]] <- str2lang(outcomes[k])
    refit <- paste0("scale_", scales[k])
    side_fit(refit, paste0("m_", id), f, reml)
    scale_diagnostics(scales[k], refit, list(R = as.name(refit), T = scales[k]))
  }
  scale_diagnostics("model", paste0("m_", id), list(R = as.name(paste0("m_", id)), T = own))
  fits <- paste0("scale_", scales)
  singular <- vapply(fits, function(f) have(f) && isSingular(get(f, envir = analysis)), FALSE)
  list(singular = scales[singular])
}

# The outcome in its own units at chosen values of the predictors, turned back from the scale of the
# model: the median where the errors are symmetric there. `rows` are lists of a key, a coefficient,
# a place, and coefficients to be set to 0.
check_back <- function(id, transform, level, ddf, rows) {
  inverse <- list(
    log = quote(exp(V)), log2 = quote(2^(V)), log10 = quote(10^(V)), log1p = quote(expm1(V)),
    sqrt = quote(max(0, V)^2)
  )[[transform]]
  places <- list(
    below = quote(mean(getME(M, "X")[, TERM]) - sd(getME(M, "X")[, TERM])),
    above = quote(mean(getME(M, "X")[, TERM]) + sd(getME(M, "X")[, TERM])), off = 0, on = 1
  )
  parts <- list(
    estimate = quote(C[["estimate"]]), lower = quote(t_limit(C, "lower", LEVEL)),
    upper = quote(t_limit(C, "upper", LEVEL))
  )
  for (row in rows) {
    b <- list(
      M = as.name(paste0("m_", id)), T = as.name(paste0("t_", id)), DDF = ddf, LEVEL = level,
      TERM = row$term, ZERO = as.character(unlist(row$zero))
    )
    b$AT <- if (is.call(places[[row$place]])) resolve(places[[row$place]], b) else places[[row$place]]
    name <- make.names(paste0("back_", row$key))
    object(name, combination(T, weights_at(M, TERM, AT, ZERO), DDF), bind = b)
    for (what in names(parts)) {
      at <- paste("assumptions/back", row$key, what, sep = "/")
      label <- paste0("Outcome in its own units, ", row$key, ": ", what)
      if (have(name)) {
        value <- resolve(parts[[what]], list(C = as.name(name), LEVEL = level))
        statistic(
          at, CALL, label, "estimate", model = paste0("m_", id),
          bind = list(CALL = resolve(inverse, list(V = value)))
        )
      } else {
        absent(at, why(name, "not computed"), label)
      }
    }
  }
  list()
}

scale_diagnostics <- function(scale, name, b) {
  at <- function(what) paste("assumptions/scale", scale, what, sep = "/")
  if (!have(name)) {
    for (what in c("skewness", "kurtosis", "outside", "spread", "aic")) {
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
    at("spread"), cor(levelled(fitted(R)), levelled(abs(residuals(R))), method = "spearman"),
    paste("Rank correlation of fitted values and absolute residuals,", scale), "correlation",
    bind = b
  )
  statistic(
    at("aic"), criterion_before(R, T, 2), paste("AIC of the untransformed outcome,", scale),
    "criterion", bind = b, method = "ML, density of the outcome before its transformation"
  )
}

# --- outlying rows ----------------------------------------------------------------------------

# Rows whose residual is beyond 3.29 SD, and the final and the null model without them. `null` is
# empty where there is none, `blocks` its groupings, `exact` whether its one variance is tested.
check_outlying <- function(id, formula, null, null_formula, reml, blocks, exact, seed) {
  name <- paste0("m_", id)
  model_as_m(name)
  b <- list(M = as.name(name))
  object("outlying", outlying_rows(M), bind = b)
  if (!have("outlying") || !length(analysis$outlying)) {
    return(list(rows = integer()))
  }
  first <- utils::head(analysis$outlying, 10L)
  for (k in seq_along(first)) outlying_row(paste0("assumptions/outlying/", k), first[k], name, b)
  statistic(
    "assumptions/outlying/rows", length(outlying), "Rows with a residual beyond 3.29 SD", "count",
    bind = b, model = name
  )
  inside <- quote(d[-outlying, , drop = FALSE])
  complaint <- side_fit("without_outlying", name, str2lang(formula), reml, inside)
  without_outlying_rows(name, b)
  if (nzchar(null)) {
    null <- paste0("m_", null)
    side_fit("null_without_outlying", null, str2lang(null_formula), reml, inside)
    null_without_outlying(null, blocks, exact, seed)
  }
  list(rows = as.integer(first), complaint = complaint)
}

outlying_row <- function(place, row, name, b) {
  b$ROW <- as.integer(row)
  at <- function(what) paste(place, what, sep = "/")
  statistic(at("row"), ROW, "Row of the data", "count", bind = b)
  statistic(
    at("outcome"), getME(M, "y")[[ROW]], paste("Outcome of row", row), "estimate", bind = b,
    model = name
  )
  statistic(
    at("fitted"), fitted(M)[[ROW]], paste("Fitted value of row", row), "estimate", bind = b,
    model = name
  )
  statistic(
    at("residual"), scaled_residuals(M)[[ROW]], paste("Residual of row", row, "in SD"), "statistic",
    bind = b, model = name
  )
}

# The final model's estimates without the outlying rows.
without_outlying_rows <- function(name, b) {
  model_as_m(name)
  at <- function(...) paste("assumptions/outlying", ..., sep = "/")
  known <- have("without_outlying") &&
    setequal(names(fixef(analysis$without_outlying)), names(fixef(m)))
  if (known) object("coef_without_outlying", satterthwaite(without_outlying))
  coefficients_without_outlying(at, names(fixef(m)), known, b)
  label <- "Largest change of a coefficient without the outlying rows, in SE"
  if (!known) {
    return(absent(at("change"), "the model cannot be fitted without these rows", label))
  }
  statistic(
    at("change"), largest_change(fixed_part(M), fixed_part(without_outlying)), label, "ratio",
    bind = b, model = name
  )
  statistic(at("sigma"), sigma(without_outlying), "Residual SD without the outlying rows", "sd")
  for (block in names(VarCorr(m))) {
    b$B <- block
    for (effect in rownames(VarCorr(m)[[block]])) {
      b$I <- effect
      statistic(
        at("var", block, effect), sqrt(component(without_outlying, B, I)),
        paste("SD without the outlying rows:", effect, "of", block), "sd", bind = b
      )
    }
  }
}

coefficients_without_outlying <- function(at, terms_, known, b) {
  columns <- c(estimate = "Estimate", se = "Std. Error", p = "Pr(>|t|)")
  for (term in terms_) {
    b$TERM <- term
    for (what in names(columns)) {
      b$COLUMN <- columns[[what]]
      label <- paste0(term, " without the outlying rows: ", what)
      if (known && have("coef_without_outlying")) {
        statistic(at(term, what), coef_without_outlying[TERM, COLUMN], label, what, bind = b)
      } else {
        absent(at(term, what), "the model cannot be fitted without these rows", label)
      }
    }
  }
}

# The null model's intraclass correlations, with and without the outlying rows, and the exact test
# of its one variance.
null_without_outlying <- function(null, blocks, exact, seed) {
  models <- c(all = null, without = "null_without_outlying")
  for (which in names(models)) {
    b <- list(M = as.name(models[[which]]), SEED = seed)
    at <- function(what) paste("assumptions/outlying", which, what, sep = "/")
    for (g in blocks) {
      b$G <- g
      label <- paste("Intraclass correlation of", g, "(", which, ")")
      if (have(models[[which]])) {
        statistic(
          at(paste0("icc/", g)),
          component(M, G, "(Intercept)") / (random_variance(M) + residual_variance(M)), label,
          "proportion", bind = b, model = models[[which]]
        )
      } else {
        absent(at(paste0("icc/", g)), "the null model cannot be fitted without these rows", label)
      }
    }
    label <- paste0("p of the exact test of the group variance (", which, ")")
    tested <- paste0("exact_", which)
    if (exact && have(models[[which]])) object(tested, CALL, bind = list(CALL = resolve(exact_call, b)))
    if (have(tested)) {
      b$E <- as.name(tested)
      statistic(
        at("p"), E$p.value, label, "p", bind = b, model = models[[which]],
        method = "exact restricted likelihood-ratio test, 10,000 simulated values; p = (b + 1) / (B + 1)"
      )
    } else {
      absent(at("p"), "the exact test is made for one variance and a moderate number of groups", label)
    }
  }
}
