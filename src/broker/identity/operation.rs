//! Operations: what operators may do at the broker, by role, in one table.

use std::fmt;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $text:literal for [$($role:literal),+],)+) => {
        /// Something that an operator may do; its text is what attenuated operator tokens name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Operation {
            $($(#[$doc])* $name,)+
        }

        impl Operation {
            /// Every operation, in the order of this page.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable name: `resource:verb`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The roles that may do it, any one of which suffices.
            #[must_use]
            pub const fn roles(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($role),+],)+ }
            }
        }
    };
}

operations! {
    /// List and read agents.
    AgentsRead = "agents:read" for ["admin", "auditor"],
    /// Register or change an agent.
    AgentsWrite = "agents:write" for ["admin"],
    /// Remove an agent.
    AgentsDelete = "agents:delete" for ["admin"],
    /// List and read servers and their manifests.
    ServersRead = "servers:read" for ["admin", "auditor"],
    /// Register a server or change its manifest.
    ServersWrite = "servers:write" for ["admin"],
    /// Remove a server.
    ServersDelete = "servers:delete" for ["admin"],
    /// List and read stewards.
    StewardsRead = "stewards:read" for ["admin", "auditor"],
    /// Register a steward or change the directory.
    StewardsWrite = "stewards:write" for ["admin"],
    /// Erase a steward from the directory.
    StewardsDelete = "stewards:delete" for ["admin"],
    /// Make a code with which a steward signs in: its holder can act as that person.
    StewardsSignIn = "stewards:sign_in" for ["admin"],
    /// List and read operators.
    OperatorsRead = "operators:read" for ["admin", "auditor"],
    /// Make an operator's token.
    OperatorsWrite = "operators:write" for ["admin"],
    /// Remove an operator.
    OperatorsDelete = "operators:delete" for ["admin"],
    /// List and read the broker's keys.
    KeysRead = "keys:read" for ["admin", "auditor"],
    /// Rotate a key.
    KeysRotate = "keys:rotate" for ["admin"],
    /// Read the policy set in force.
    PolicyRead = "policy:read" for ["admin", "auditor"],
    /// Have policy files checked, or a decision explained, without effect.
    PolicyExplain = "policy:explain" for ["admin", "auditor"],
    /// Write a grant.
    PolicyWrite = "policy:write" for ["admin"],
    /// Load the policy set anew.
    PolicyReload = "policy:reload" for ["admin"],
    /// List and read tasks of any agent.
    TasksRead = "tasks:read" for ["admin", "auditor"],
    /// List and read revocations.
    RevocationsRead = "revocations:read" for ["admin", "auditor"],
    /// Revoke.
    RevocationsCreate = "revocations:create" for ["admin"],
    /// Let an agent, steward or server that was revoked be minted for again.
    RevocationsReinstate = "revocations:reinstate" for ["admin"],
    /// Read the audit trail, its heads and proofs.
    AuditRead = "audit:read" for ["admin", "auditor"],
    /// Follow the feed of a server.
    FeedRead = "feed:read" for ["admin", "auditor", "verifier"],
    /// Ask what a pass is worth at a server.
    PassesIntrospect = "passes:introspect" for ["admin", "verifier"],
    /// Report decisions of a verifier.
    DecisionsCreate = "decisions:create" for ["admin", "verifier"],
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_get_what_they_are_for() {
        let may = |role: &str, operation: &&Operation| operation.roles().contains(&role);
        let names = |role: &str| -> Vec<_> {
            Operation::ALL
                .iter()
                .filter(|operation| may(role, operation))
                .map(|operation| operation.as_str())
                .collect()
        };
        assert_eq!(names("admin").len(), Operation::ALL.len());
        assert_eq!(
            names("verifier"),
            ["feed:read", "passes:introspect", "decisions:create"]
        );
        assert_eq!(names("approver"), [""; 0]);
        let reads = Operation::ALL.iter().map(|operation| operation.as_str());
        let reads: Vec<_> = reads
            .filter(|name| name.ends_with(":read") || name.ends_with(":explain"))
            .collect();
        assert_eq!(names("auditor"), reads);
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Operation::ALL
            .iter()
            .map(|operation| operation.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Operation::ALL.len());
    }
}
