//! Texts of checks, and what they let pass.

use super::*;

#[test]
fn texts_are_kubernetes_own() {
    assert_eq!(
        dns1123_label("A"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
          with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
          '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(
        qualified_name("a/b/c"),
        ["a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
          alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
          '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
          'example.com/MyName')"]
    );
    assert_eq!(qualified_name("").len(), 2);
    assert_eq!(qualified_name(&"k".repeat(64)), ["name part must be no more than 63 bytes"]);
    assert_eq!(
        qualified_name(&format!("{}/b", vec!["a"; 128].join("."))),
        ["prefix part must be no more than 253 bytes"]
    );
    assert_eq!(label_value("b-").len(), 1);
    assert!(label_value("").is_empty());
    assert_eq!(config_map_key("..a"), ["must not start with '..'"]);
    assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
    assert_eq!(
        percent("5"),
        [
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
         for validation is '[0-9]+%')"
        ]
    );
}

#[test]
fn what_passes_and_what_does_not() {
    let long = "a".repeat(254);
    for (check, text, wrong) in [
        (dns1123_subdomain as fn(&str) -> Vec<String>, "a.b-c.9", 0),
        (dns1123_subdomain, "a..b", 1),
        (dns1123_subdomain, "-a", 1),
        (dns1123_subdomain, &long, 1),
        (dns1123_subdomain_with_underscore, "_a.b_c", 0),
        (dns1123_subdomain_with_underscore, "a_", 1),
        (wildcard_dns1123_subdomain, "*.a.b", 0),
        (wildcard_dns1123_subdomain, "*a.b", 1),
        (dns1035_label, "a-1", 0),
        (dns1035_label, "1-a", 1),
        (port_name, "http-2", 0),
        (port_name, "80", 1),
        (port_name, "", 2),
        (port_name, "-a--b", 2),
        (env_var_name, "a b.%", 0),
        (env_var_name, "a=b", 1),
        (env_var_name, "é", 1),
        (c_identifier, "_a1", 0),
        (c_identifier, "1a", 1),
        (c_identifier, "", 1),
        (http_header_name, "X-A", 0),
        (http_header_name, "X_A", 1),
        (absolute_path, "/a/..b", 0),
        (absolute_path, "/a/../b", 1),
        (absolute_path, "a", 1),
        (path_segment, "..", 1),
        (path_segment_prefix, "..", 0),
    ] {
        assert_eq!(check(text).len(), wrong, "{text}: {:?}", check(text));
    }
}

#[test]
fn addresses_and_ranges() {
    for (check, text, wanted) in [
        (ip as fn(&str) -> Vec<String>, "10.9.8.7", ""),
        (ip, "2001:DB8::1", ""),
        (ip, "010.9.8.7", "leading 0s"),
        (ip, "::ffff:1.2.3.4", "IPv4-mapped"),
        (ip, "10.9.8", "must be a valid IP"),
        (ip, "", "must be a valid IP"),
        (cidr, "10.9.8.0/24", ""),
        (cidr, "0.0.0.0/0", ""),
        (cidr, "10.9.8.7/32", ""),
        (cidr, "2001:db8::/64", ""),
        (cidr, "::/0", ""),
        (cidr, "10.9.8.7/24", "bits set beyond"),
        (cidr, "10.9.8.0/024", "leading 0s"),
        (cidr, "10.9.8.0/33", "must be a valid CIDR"),
        (cidr, "10.9.8.0", "must be a valid CIDR"),
        (endpoint_ip, "192.0.2.1", ""),
        (endpoint_ip, "127.0.0.1", "loopback"),
        (endpoint_ip, "::", "may not be unspecified (::)"),
        (endpoint_ip, "169.254.1.1", "link-local range"),
        (endpoint_ip, "224.0.0.9", "link-local multicast"),
        (endpoint_ip, "fe80::1", "link-local range"),
        (endpoint_ip, "x", "must be a valid IP address"),
    ] {
        let said = check(text).join("|");
        assert!(if wanted.is_empty() { said.is_empty() } else { said.contains(wanted) }, "{text}: {said}");
    }
}
