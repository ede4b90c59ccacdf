"""A person at the pages, in a real Chromium.

browser.py URL VIEWER_KEY ANALYST_KEY SECOND_ANALYST_KEY CHOICE COMMENT: looks at the status page, then answers the one incident that waits on the page of
incidents as two people: claims, comments, and chooses twice. The last line on stdout is what was seen, as JSON; nothing is judged here but that each step comes to be.
"""
import json
import sys

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 60


def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    # As root in a container Chromium has no sandbox; the pages are the test's own.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def main(url, viewer, first, second, choice, comment):
    browser = chromium()
    # Lists are drawn anew when they change: what is looked for is that of this moment.
    redrawn = [NoSuchElementException, StaleElementReferenceException]
    wait = WebDriverWait(browser, PATIENCE, poll_frequency=0.1, ignored_exceptions=redrawn)
    seen = {}

    def text(element):
        return browser.find_element(By.ID, element).text

    def until(what, look):
        return wait.until(lambda _: look(), what)

    def buttons(label, where):
        return [b for b in browser.find_elements(By.CSS_SELECTOR, f"#{where} button") if b.text == label]

    def press(label, where):
        until(f"a button {label}", lambda: [b.click() or b for b in buttons(label, where)[:1]])

    def enter(key):
        box = browser.find_element(By.ID, "key")
        box.clear()
        box.send_keys(key)
        browser.find_element(By.ID, "use").click()

    try:
        browser.get(f"{url}/")
        until("the stages", lambda: "normalization" in text("stages"))
        seen["sub"], seen["cards"], seen["stages"] = text("sub"), text("cards"), text("stages")

        browser.get(f"{url}/incidents")
        enter("atio_no_one")
        seen["stranger"] = until("a refusal", lambda: "unauthorized" in text("said").lower() and text("said"))
        enter(viewer)
        rows = lambda: browser.find_elements(By.CSS_SELECTOR, "#incidents tr")
        until("one that waits", lambda: len(rows()) == 1)
        seen["row"] = rows()[0].text
        until("its button", lambda: rows()[0].find_element(By.TAG_NAME, "button").click() or True)
        until("its wait", lambda: buttons("Claim", "waits"))
        press(choice, "waits")
        seen["viewer"] = until("no answer of a viewer", lambda: "refused" in text("said") and text("said"))

        enter(first)
        press("Claim", "waits")
        until("it is claimed", lambda: buttons("Release", "waits"))
        browser.find_element(By.ID, "comment").send_keys(comment)
        browser.find_element(By.ID, "do-comment").click()
        until("the comment", lambda: comment in text("told"))
        press(choice, "waits")
        seen["first"] = until("one has said yes", lambda: f"for {choice}" in text("waits") and text("waits"))
        enter(second)
        press(choice, "waits")
        until("nothing waits", lambda: "nothing waits" in text("waits"))
        # What the branch does then comes by topics of its own.
        until("what it told the incident", lambda: "high" in text("facts") and "quarantined" in text("told"))
        seen["told"], seen["facts"] = text("told"), text("facts")
        seen["images"] = len(browser.find_elements(By.CSS_SELECTOR, "#told img, #told script"))
        # A refused answer is a failed request to the browser: told by the page, and no fault of it.
        seen["faults"] = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE" and "status of 40" not in e["message"]]
    finally:
        browser.quit()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
