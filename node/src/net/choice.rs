//! PURE: what kind of network pods and Services have here, from what the machine lets the agent do.

/// What was tried, and why it does not work where it does not.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Bridges and pairs of interfaces.
    pub(crate) links: Result<(), String>,
    /// Tables of nftables.
    pub(crate) nftables: Result<(), String>,
    /// Further addresses of loopback.
    pub(crate) addresses: Result<(), String>,
}

/// Where pods' addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pods {
    /// A bridge of the agent's, with routes to other nodes.
    Own,
    /// The engine.
    Engine,
    /// Numbers without interfaces.
    Simulated,
}

/// How Services are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    /// The kernel translates.
    Nftables,
    /// The agent copies, TCP only; cluster addresses only where loopback can have them.
    Proxy {
        /// Whether it can.
        cluster_ips: bool,
    },
    /// Nothing is there to be reached.
    Simulated,
}

/// What was chosen, and what is worse than it could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) pods: Pods,
    pub(crate) services: Services,
    /// For people: in the log, and on the Node object.
    pub(crate) loss: Option<String>,
}

/// For nodes whose containers are simulated.
pub(crate) const SIMULATED: Choice = Choice { pods: Pods::Simulated, services: Services::Simulated, loss: None };

impl Choice {
    /// As the Node object's annotation has it.
    pub(crate) fn word(&self) -> &'static str {
        match self.services {
            Services::Nftables => "own bridge, services by nftables",
            Services::Proxy { cluster_ips: true } => "engine's bridge, services by a user-space proxy",
            Services::Proxy { cluster_ips: false } => "engine's bridge, node ports by a user-space proxy",
            Services::Simulated => "simulated",
        }
    }
}

/// Chooses the best that the machine allows.
pub(crate) fn choose(host: &Host) -> Choice {
    let reasons: Vec<&str> = [&host.links, &host.nftables]
        .into_iter()
        .filter_map(|tried| tried.as_ref().err())
        .map(String::as_str)
        .collect();
    let Some(why) = reasons.first() else {
        return Choice { pods: Pods::Own, services: Services::Nftables, loss: None };
    };
    let cluster_ips = host.addresses.is_ok();
    let reached = if cluster_ips {
        "Services are reached through a user-space proxy (TCP only)"
    } else {
        "only their node ports are reached, through a user-space proxy (TCP only), and cluster addresses are not"
    };
    let loss = format!("pods are on the engine's bridge, apart from those of other nodes, and {reached}: {why}");
    Choice { pods: Pods::Engine, services: Services::Proxy { cluster_ips }, loss: Some(loss) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_works_is_chosen_and_the_rest_is_said() {
        let tried = |works: bool, what: &str| if works { Ok(()) } else { Err(format!("no {what}")) };
        let host = |links, nftables, addresses| Host {
            links: tried(links, "links"),
            nftables: tried(nftables, "nftables"),
            addresses: tried(addresses, "addresses"),
        };
        let best = choose(&host(true, true, true));
        assert_eq!((best.pods, best.services, best.loss), (Pods::Own, Services::Nftables, None));
        let worse = choose(&host(true, false, true));
        assert_eq!((worse.pods, worse.services), (Pods::Engine, Services::Proxy { cluster_ips: true }));
        assert!(worse.loss.is_some_and(|loss| loss.ends_with("no nftables") && loss.contains("user-space proxy")));
        let worst = choose(&host(false, false, false));
        assert_eq!((worst.pods, worst.services), (Pods::Engine, Services::Proxy { cluster_ips: false }));
        assert!(
            worst.loss.is_some_and(|loss| loss.contains("cluster addresses are not") && loss.ends_with("no links"))
        );
    }
}
