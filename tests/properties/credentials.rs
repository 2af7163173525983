//! Names and passwords, and the texts they are put into.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use tandem::policy::password::Recipe;
use tandem::policy::target::RoleName;
use tandem::policy::template::Template;

/// Any text without NUL, and more often one that is made of what has a meaning somewhere.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z'\"%@:/?#\\\\ {}=&;$`!+é漢😀\n\t-]{1,24}",
        1 => "[^\0]{1,40}",
    ]
}

fn render(template: &str, user: &str, password: &str) -> String {
    Template::parse(template).unwrap().render(user, password)
}

/// Takes away the quotes and the backslashes before them, as a reader does; nothing when the text ends too early.
fn unquote(text: &str, mark: char) -> Option<String> {
    let mut rest = text.strip_prefix(mark)?.chars();
    let mut out = String::new();
    loop {
        match rest.next()? {
            '\\' => out.push(rest.next()?),
            c if c == mark => return rest.next().is_none().then_some(out),
            c => out.push(c),
        }
    }
}

/// Numbers below `n` from a seed.
fn below(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |n| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fm26_percent_encoding_is_undone_by_a_reader(user in texts(), password in texts()) {
        let uri = render("postgresql://{username:uri}:{password:uri}@db:5432/shop", &user, &password);
        prop_assert!(uri.is_ascii() && !uri.contains(char::is_whitespace), "{uri}");
        let (info, place) = uri.strip_prefix("postgresql://").unwrap().split_once('@').unwrap();
        prop_assert_eq!(place, "db:5432/shop");
        let (u, p) = info.split_once(':').unwrap();
        prop_assert_eq!(percent_decode_str(u).decode_utf8().unwrap(), user.as_str());
        prop_assert_eq!(percent_decode_str(p).decode_utf8().unwrap(), password.as_str());
        let read: tokio_postgres::Config = uri.parse().unwrap();
        prop_assert_eq!(read.get_user(), Some(user.as_str()));
        prop_assert_eq!(read.get_password(), Some(password.as_bytes()));
        prop_assert_eq!(render("{password:jdbc}", &user, &password), p);
    }

    #[test]
    fn fm26_quoting_is_undone_by_a_reader(user in texts(), password in texts()) {
        let single = render("'{password:squote}'", &user, &password);
        prop_assert_eq!(unquote(&single, '\''), Some(password.clone()));
        let double = render("\"{username:dquote}\"", &user, &password);
        prop_assert_eq!(unquote(&double, '"'), Some(user.clone()));
        let pairs = render("host=db user='{username:squote}' password='{password:squote}' port=5432", &user, &password);
        let read: tokio_postgres::Config = pairs.parse().unwrap();
        prop_assert_eq!(read.get_user(), Some(user.as_str()));
        prop_assert_eq!(read.get_password(), Some(password.as_bytes()));
        prop_assert_eq!(read.get_ports(), [5432]);
    }

    #[test]
    fn fm26_without_an_escape_nothing_is_changed(user in texts(), password in texts()) {
        prop_assert_eq!(render("{{{username}}}|{password}", &user, &password), format!("{{{user}}}|{password}"));
    }

    #[test]
    fn fm26_a_template_never_panics(text in any::<String>()) {
        if let Ok(template) = Template::parse(&text) {
            prop_assert!(text.contains(['{', '}']) || template.render("u", "p") == text, "{text}");
        }
    }

    #[test]
    fn fm26_a_role_name_is_any_that_the_server_can_have(name in prop_oneof![texts(), any::<String>(), "[aé漢]{50,70}", "(pg_|public|none)[a-z]{0,3}"]) {
        let possible = (1..=63).contains(&name.len())
            && !name.contains('\0')
            && !name.starts_with("pg_")
            && name != "public"
            && name != "none";
        let made = RoleName::new(&name);
        prop_assert_eq!(made.is_ok(), possible);
        let json = serde_json::to_string(&name).unwrap();
        let read = serde_json::from_str::<RoleName>(&json);
        prop_assert_eq!(read.is_ok(), possible, "it is checked when it is read back, too");
        if let Ok(role) = made {
            prop_assert_eq!(role.as_str(), name.as_str());
            prop_assert_eq!(serde_json::to_string(&role).unwrap(), json);
        }
    }

    #[test]
    fn passwords_have_every_class_and_fit_every_place(seed in any::<u64>(), length in 20..=99_u8, symbol in any::<bool>()) {
        let password = Recipe::new(length, symbol).unwrap().make(below(seed));
        prop_assert_eq!(password.len(), usize::from(length));
        prop_assert!(password.starts_with(|c: char| c.is_ascii_alphabetic()));
        prop_assert!(password.ends_with(|c: char| c.is_ascii_alphanumeric()));
        prop_assert!(password.contains(|c: char| c.is_ascii_uppercase()));
        prop_assert!(password.contains(|c: char| c.is_ascii_lowercase()));
        prop_assert!(password.contains(|c: char| c.is_ascii_digit()));
        let symbols = password.chars().filter(|c| !c.is_ascii_alphanumeric());
        prop_assert!(symbols.clone().all(|c| c == '-' || c == '_'));
        prop_assert_eq!(symbols.count(), usize::from(symbol));

        // As it is, in the places where somebody will forget to escape it (R37).
        for escape in ["uri", "jdbc", "squote", "dquote"] {
            let escaped = render(&format!("{{password:{escape}}}"), "app", &password);
            prop_assert_eq!(&escaped, &password);
        }
        for raw in ["postgresql://app:{password}@db/shop", "host=db user=app password={password}"] {
            let read: tokio_postgres::Config = render(raw, "app", &password).parse().unwrap();
            prop_assert_eq!(read.get_password(), Some(password.as_bytes()));
        }
        let yaml = format!("password: {password}\n");
        let read: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&yaml).unwrap();
        prop_assert_eq!(read["password"].as_str(), Some(password.as_str()), "text, and no number or date");
    }

    #[test]
    fn passwords_of_other_lengths_are_refused(length in prop_oneof![0..20_u8, 100..=255_u8], symbol in any::<bool>()) {
        prop_assert!(Recipe::new(length, symbol).unwrap_err().contains("between 20 and 99"));
    }
}
