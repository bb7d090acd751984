"""Makes what the tests need in a Keystone that has just been bootstrapped, and prints how it is reached.

Usage: keystone_accounts.py IDENTITY_URL < SETTINGS

SETTINGS and what is printed are lines KEY=VALUE. Settings:

    administrator_password      of the user `admin` that the bootstrap made
    service_password            for the users of the servers themselves
    service                     NAME,TYPE: a user NAME in the project `service`, and a service TYPE; may come again
    endpoint                    TYPE,INTERFACE,REGION,URL; may come again; URL may hold Keystone's own %(project_id)s
    container                   URL,NAME: a container of the project, URL being Swift's up to the project's id; may come
                                again
    password, password_without_rights

The user lies in one domain and the project in another, and neither is the default one, so that nobody who mixes them
up gets a token. A second user has a role in the project that gives no rights in Swift. The application credential is
made by the user, as Keystone demands, and has all roles of the user.
"""

import sys

import requests

PEOPLE, PLACES = "registry-people", "registry-places"
# How often a token may run out before it is used.
ATTEMPTS = 20
USER, USER_WITHOUT_RIGHTS, PROJECT = "registry-user", "registry-guest", "registry-project"


def well(answer):
    if not answer.ok:
        asked = answer.request
        sys.exit(f"{asked.method} {asked.url} is answered with {answer.status_code}: {answer.text}")
    return answer


class Somebody:
    """What one user of Keystone asks of it and of others. Each call ends well, or all ends with what was answered."""

    def __init__(self, url, user, domain, password, project, project_domain):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        password_of = {"name": user, "domain": {"name": domain}, "password": password}
        self.login = {
            "identity": {"methods": ["password"], "password": {"user": password_of}},
            "scope": {"project": {"name": project, "domain": {"name": project_domain}}},
        }

    def ask(self, method, path, **body):
        """A token of tests may be good for a second or two, so that 401 only means that a new one is needed."""
        address = path if path.startswith("http") else f"{self.url}/{path}"
        for _ in range(ATTEMPTS):
            answer = self.session.request(method, address, json=body or None, timeout=120)
            if answer.status_code != 401:
                return well(answer)
            answer = well(self.session.post(f"{self.url}/auth/tokens", json={"auth": self.login}, timeout=120))
            self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        sys.exit(f"{ATTEMPTS} tokens were not good enough for {method} {address}")

    def make(self, kind, path=None, **values):
        """Something new of this kind, and its id."""
        return self.ask("POST", path or f"{kind}s", **{kind: values}).json()[kind]

    def grant(self, role, user, project):
        self.ask("PUT", f"projects/{project}/users/{user}/roles/{role}")


settings = [line.rstrip("\n").split("=", 1) for line in sys.stdin]
one = dict(settings)
url = sys.argv[1]
admin = Somebody(url, "admin", "Default", one["administrator_password"], "admin", "Default")
roles = {role["name"]: role["id"] for role in admin.ask("GET", "roles").json()["roles"]}

# The servers themselves.
service_project = admin.make("project", name="service", domain_id="default")["id"]
services = {}
for name, kind in (value.split(",") for key, value in settings if key == "service"):
    user = admin.make("user", name=name, domain_id="default", password=one["service_password"])["id"]
    for role in ("admin", "service"):
        admin.grant(roles[role], user, service_project)
    services[kind] = admin.make("service", name=name, type=kind)["id"]
known_regions = {region["id"] for region in admin.ask("GET", "regions").json()["regions"]}
for kind, interface, region, address in (value.split(",") for key, value in settings if key == "endpoint"):
    if region not in known_regions:
        admin.make("region", id=region)
        known_regions.add(region)
    admin.make("endpoint", service_id=services[kind], interface=interface, region_id=region, url=address)

# Those who use them.
people = admin.make("domain", name=PEOPLE)["id"]
places = admin.make("domain", name=PLACES)["id"]
project = admin.make("project", name=PROJECT, domain_id=places)["id"]
user = admin.make("user", name=USER, domain_id=people, password=one["password"])["id"]
guest = admin.make("user", name=USER_WITHOUT_RIGHTS, domain_id=people, password=one["password_without_rights"])["id"]
admin.grant(roles["member"], user, project)
admin.grant(roles["reader"], guest, project)

by_user = Somebody(url, USER, PEOPLE, one["password"], PROJECT, PLACES)
credential = by_user.make("application_credential", f"users/{user}/application_credentials", name="registry")

for address, name in (value.split(",") for key, value in settings if key == "container"):
    by_user.ask("PUT", f"{address}{project}/{name}")

print(f"user={USER}", f"user_id={user}", f"user_domain={PEOPLE}", f"user_domain_id={people}", sep="\n")
print(f"project={PROJECT}", f"project_id={project}", sep="\n")
print(f"project_domain={PLACES}", f"project_domain_id={places}", sep="\n")
print(f"user_without_rights={USER_WITHOUT_RIGHTS}")
print(f"application_credential_id={credential['id']}", f"application_credential_name={credential['name']}", sep="\n")
print(f"application_credential_secret={credential['secret']}")
